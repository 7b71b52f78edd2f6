"""How log lines look, and what never gets into them.

A line is an event with fields: `2026-11-30T04:30:00Z INFO serving.http.identity caller refused reason=no_key`.
Whatever an event or a field holds stays on its line. Of an error that is not ours the line tells type and place,
not its message: messages of libraries quote what they were handed, which is questions and document text here.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from typing import TextIO

from retrieval.errors import RefdeskError

OUR_LOGGERS = ("retrieval", "ingest", "workers", "serving", "refdesk")

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_CONNECTION_ERRORS = frozenset({"OperationalError", "InterfaceError", "ConnectError", "ConnectTimeout"})
"""Names of library errors that tell of a server, not of what was sent to it: operators need their messages."""


class EventFormatter(logging.Formatter):
    """One line per event, and the places of an error below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        fields = (
            f"{name}={_field(value)}"
            for name, value in vars(record).items()
            if name not in _STANDARD_FIELDS and not name.startswith("_")
        )
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = " ".join((when, record.levelname, record.name, on_one_line(record.getMessage()), *fields))
        error = record.exc_info[1] if record.exc_info else None
        return line if error is None else "\n".join((line, *lines_of(error)))


def set_up_logging(level: str, *, stream: TextIO | None = None) -> logging.Handler:
    """Write the log of this process to a stream, standard error by default. Composition roots call this once.

    Libraries are heard from `warning` on, whatever the level: at `debug` they write down headers and parameters.
    The web server's access log, which holds addresses with their queries, stays off; the desk has its own.

    Args:
        level: Least severe event of the desk itself that is written: `debug`, `info`, `warning`, `error`.
        stream: Where to.

    Returns:
        The handler, which replaces one that was set up before.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(EventFormatter())
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each.formatter, EventFormatter)]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    for name in ("celery", "kombu", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = name != "uvicorn.access"
        server.setLevel(logging.WARNING)
    return handler


def on_one_line(text: str) -> str:
    r"""A text whose line ends and control characters are written out, so that it cannot pass for a line.

    >>> on_one_line("a\r\nERROR b \x1b[31m")
    'a\\r\\nERROR b \\x1b[31m'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def lines_of(error: BaseException) -> Iterator[str]:
    """Where an error and those that led to it were raised, oldest first, and of which types they are."""
    for each in reversed(list(_chain(error))):
        yield from (line.rstrip() for line in traceback.format_tb(each.__traceback__))
        yield _named(each)
        if isinstance(each, BaseExceptionGroup):
            for inner in each.exceptions:
                yield from lines_of(inner)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context


def _named(error: BaseException) -> str:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}"
    tells = isinstance(error, RefdeskError | ConnectionError) or kind.__name__ in _CONNECTION_ERRORS
    return f"{name}: {on_one_line(str(error))}" if tells else name


def _field(value: object) -> str:
    text = on_one_line(str(value))
    return text if text and not set(' "=') & set(text) else json.dumps(text, ensure_ascii=False)
