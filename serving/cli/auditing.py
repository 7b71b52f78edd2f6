"""`refdesk audit`: verify the audit trail, and take it elsewhere.

What checks or changes the trail works on the catalogue itself, so that no desk need be trusted for it. An export
goes through the API like everything that reads: it asks for the scope and is put on record.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from retrieval.audit import BROKEN, Head, Verdict
from retrieval.settings import Settings, load_settings
from serving.cli.api import Connection, connected, open_api
from serving.cli.errors import CommandError
from serving.cli.output import progress_bar, say
from serving.cli.shape import ExampleCommand
from serving.cli.upkeep import data_option, json_option, print_facts, require_catalogue

if TYPE_CHECKING:
    from retrieval.adapters.sql.database import Database


class HeadParam(click.ParamType[Head]):
    """A head of the trail, written as `audit verify` prints it: `1234:<hash>`."""

    name = "head"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        """The head."""
        sequence, _, hash_ = str(value).partition(":")
        if not sequence.isdecimal() or len(hash_) != 64:
            self.fail("write it as `refdesk audit verify` printed it: NUMBER:HASH", param, ctx)
        return Head(int(sequence), hash_)


class Moment(click.ParamType[datetime]):
    """A day or a moment in ISO 8601, UTC where no zone is given."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, with its zone."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("write it as 2026-11-01 or 2026-11-01T09:30:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group()
def audit() -> None:
    """Verify the audit trail, and take it elsewhere."""


@audit.command(
    "verify",
    cls=ExampleCommand,
    examples=("refdesk audit verify", "refdesk audit verify --head 1234:9f86d0…"),
)
@click.option("--head", "kept", type=HeadParam(), help="A head noted before: is it still in the trail?")
@data_option
@json_option
def verify(kept: Head | None, data: Path | None, as_json: bool) -> None:
    """Check that no record of the audit trail was changed, removed or slipped in.

    Reads the catalogue itself, so the desk need not be trusted for it; the desk may run meanwhile. Prints the head:
    keep it where nobody who reaches the catalogue can change it, and give it back with --head the next time. Only
    that shows a trail that was cut off, or written anew as a whole. Exit code 1 when the trail is broken.
    """
    from retrieval.adapters.sql.audit import SqlAudit
    from retrieval.wiring import utc_now

    with opened_catalogue(load_settings(data=data)) as database, progress_bar() as advance:
        verdict = SqlAudit(database, utc_now).verify(
            kept=kept, progress=lambda done, total: advance("verify", done, total)
        )
    print_facts(_facts(verdict), as_json=as_json)
    if not verdict.is_intact:
        where = "" if verdict.broken_at is None else f"record {verdict.broken_at}: "
        raise CommandError(
            "audit_broken",
            where + BROKEN[verdict.reason],
            "Compare with a backup or an export; records from there on cannot be relied on.",
        )


@audit.command(
    "export",
    cls=ExampleCommand,
    examples=(
        "refdesk audit export --out audit.jsonl",
        "refdesk audit export --format csv --since 2026-11-01 --event answer --event prompt --out november.csv",
    ),
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(("jsonl", "csv", "ocsf")),
    default="jsonl",
    show_default=True,
    help="JSON lines with all that is stored, CSV for spreadsheets, or OCSF events.",
)
@click.option("--since", type=Moment(), help="Only records of this moment or later.")
@click.option("--until", type=Moment(), help="Only records before this moment.")
@click.option("--event", "events", multiple=True, help="Only this event; may be repeated.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; else standard output."
)
@connected
def export(
    format_name: str,
    since: datetime | None,
    until: datetime | None,
    events: tuple[str, ...],
    out: Path | None,
    connection: Connection,
) -> None:
    """Write the audit trail, one record a line. That it was exported, and by whom, is itself put on record.

    Needs the scope audit:read. A FILE is readable by you only and complete, or not there.
    """
    query = {
        "format": format_name,
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
        "event": events,
    }
    with (
        open_api(connection) as api,
        api.lines("audit", "export", **query) as (headers, lines),
        _opened(out) as file,
        progress_bar() as advance,
    ):
        total, n_head = int(headers["X-Refdesk-Records"]), 1 if format_name == "csv" else 0
        n_written = -n_head
        for n_written, line in enumerate(lines, start=1 - n_head):
            file.write(line + "\n")
            advance("export", n_written, total)
        if n_written != total:
            raise CommandError(
                "export_incomplete",
                f"{n_written} of {total} records came",
                "Look at the desk's log; then try again.",
            )
    if out is not None:
        say(f"{total} records in {out}")


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that takes its name once all is in it."""
    if out is None:
        yield sys.stdout
        return
    aside = out.with_name(f"{out.name}.part")
    with open(aside, "w", encoding="utf-8", opener=_for_me_only) as file:
        try:
            yield file
        except BaseException:
            aside.unlink()
            raise
    aside.replace(out)


def _for_me_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def opened_catalogue(settings: Settings) -> Iterator[Database]:
    """The catalogue in the settings, brought to this version's tables.

    Raises:
        CommandError: There is none.
        CatalogueUnavailableError: It cannot be opened.
    """
    from retrieval.adapters.sql.database import Database

    require_catalogue(settings)
    with closing(Database(settings.database_url)) as database:
        database.migrate()
        yield database


def _facts(verdict: Verdict) -> dict[str, Any]:
    head = verdict.head
    return {
        "intact": verdict.is_intact,
        "broken_at": verdict.broken_at,
        "reason": verdict.reason,
        "records": verdict.n_records,
        "erased": verdict.n_erased,
        "pruned": verdict.n_pruned,
        "head": None if head is None else f"{head.sequence}:{head.hash}",
    }
