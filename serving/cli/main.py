"""`refdesk`: the group of commands, and the one place where errors become exit codes.

Commands are imported when they are used, so that `refdesk --help` is there at once.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import click

from serving.cli.errors import FAILED, USAGE, CommandError, exit_code_of

_COMMANDS = {
    "up": ("serving.cli.up:up", "Serve questions, indexing a folder first if one is given."),
    "ask": ("serving.cli.asking:ask", "Answer a question, with checked citations."),
    "search": ("serving.cli.asking:search", "Find passages."),
    "status": ("serving.cli.corpus:status", "Show where the desk stands."),
    "sources": ("serving.cli.sources:sources", "List, add and change what documents come from."),
    "sync": ("serving.cli.sources:sync", "Bring a source's documents up to date."),
    "docs": ("serving.cli.corpus:docs", "List documents."),
    "label": ("serving.cli.corpus:label", "Show and set the labels of a document."),
    "retention": ("serving.cli.corpus:retention", "List what is kept no longer than some days."),
    "reindex": ("serving.cli.corpus:reindex", "Read documents anew."),
    "preview": ("serving.cli.asking:preview", "Find what somebody else would find in your documents."),
    "access": (
        "serving.cli.people:access",
        "Explain who may read a document, and why; say who may read its sections.",
    ),
    "directory": ("serving.cli.directory:directory", "Users, groups and who is in which."),
    "keys": ("serving.cli.people:keys", "List, create and revoke API keys."),
    "eval": ("serving.cli.eval_command:eval_command", "Measure quality and speed on a retrieval set."),
    "rebuild": ("serving.cli.upkeep:rebuild", "Build the index anew from the catalogue."),
    "backup": ("serving.cli.upkeep:backup", "Write the desk's state into one file."),
    "restore": ("serving.cli.upkeep:restore", "Make a desk from a backup."),
    "audit": (
        "serving.cli.auditing:audit",
        "Verify and export the audit trail; erase persons, prune old records.",
    ),
    "usage": ("serving.cli.auditing:usage", "Count questions and answers, nobody in particular."),
    "doctor": ("serving.cli.doctor:doctor", "Check every part, and say what to do where one is unwell."),
}

_INTERRUPTED = 130


class RefdeskGroup(click.Group):
    """Imports a command when it is called for, and turns errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # click's signature
        """Every command, the frequent ones first."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run, and end the process with the exit code."""
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        run = partial(super().main, given, *rest, **extra)
        sys.exit(_exit_code(run, debug=_wants_debug(given)))


@click.group(cls=RefdeskGroup, invoke_without_command=False, context_settings={"max_content_width": 100})
@click.version_option(package_name="refdesk", prog_name="refdesk")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:  # read by RefdeskGroup.main
    """Refdesk answers questions from your organisation's own documents, with checked citations.

    A desk keeps its state in one folder (--data, REFDESK_DATA, default .refdesk). Commands speak to the desk
    that runs on this folder; when none does, they open the folder themselves for as long as they take.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found or not yours to see.

    Start here: refdesk up --docs FOLDER
    """


def main() -> NoReturn:
    """Entry point of the `refdesk` command."""
    signal.signal(signal.SIGTERM, _terminate)
    cli.main(prog_name="refdesk")


def _terminate(number: int, frame: object) -> NoReturn:  # noqa: ARG001  # the signal's signature
    sys.exit(128 + number)


def _wants_debug(args: Sequence[str]) -> bool:
    """Whether `--debug` stands before the command."""
    for arg in args:
        if not arg.startswith("-"):
            return False
        if arg == "--debug":
            return True
    return False


def _exit_code(run: Callable[[], object], *, debug: bool) -> int:
    """Run a command and report what goes wrong on standard error."""
    try:
        result = run()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE if isinstance(error, click.UsageError) else FAILED
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader, for example `head`, has seen enough
        return FAILED
    except Exception as error:  # the edge of the process: told once, as an exit code
        if debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    from retrieval.errors import RefdeskError

    if isinstance(error, CommandError):
        code, message, hint = error.code, str(error), error.hint
    elif isinstance(error, RefdeskError):
        code, message, hint = error.code, error.message, error.hint
    else:
        code, message = "internal_error", f"{type(error).__name__}: {error}"
        hint = "Run `refdesk --debug …` to see where; please report it."
    print(f"{code}: {' '.join(message.split())}", file=sys.stderr)
    if hint:
        print(hint, file=sys.stderr)
    return exit_code_of(code)


if __name__ == "__main__":
    main()
