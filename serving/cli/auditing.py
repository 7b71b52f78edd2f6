"""`refdesk audit`: verify the audit trail, take it elsewhere, and take persons and old records out of it.

What checks or changes the trail works on the catalogue itself, so that no desk need be trusted for it. An export
goes through the API like everything that reads: it asks for the scope and is put on record.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from retrieval.audit import BROKEN, Head, Verdict
from retrieval.settings import Settings, load_settings
from serving.cli.api import Connection, connected, open_api
from serving.cli.api import json_option as api_json_option
from serving.cli.errors import CommandError
from serving.cli.output import print_json, print_table, progress_bar, say
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


yes_option = click.option("--yes", is_flag=True, help="Do it; without, only say what would be done.")


@click.group()
def audit() -> None:
    """Verify the audit trail, take it elsewhere, and take persons and old records out of it."""


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
    _refuse_broken(verdict)


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


@audit.command(
    "erase",
    cls=ExampleCommand,
    examples=(
        "refdesk audit erase mara.lindqvist",
        "refdesk audit erase mara.lindqvist --heir tobias.krantz --yes",
    ),
)
@click.argument("person")
@click.option("--heir", help="User who owns, and so reads, from now on what PERSON owned.")
@yes_option
@data_option
@json_option
def erase(person: str, heir: str | None, yes: bool, data: Path | None, as_json: bool) -> None:
    """Erase PERSON, a user id: what the audit trail, conversations, feedback, keys and all else say of it.

    Without --yes it only names what would go. The trail stays whole: it keeps that something was erased, not what.
    Take the person out of the identity provider, of the directory file and of the sources' own access lists first,
    or they bring the id back. Backups, exports and the desk's log keep what they hold; docs/audit.md has more.
    """
    from retrieval.access import UserId
    from retrieval.adapters.sql.erasing import SqlErasing
    from retrieval.wiring import utc_now

    settings = load_settings(data=data)
    with opened_catalogue(settings) as database:
        erasing = SqlErasing(database, utc_now)
        if yes:
            taker = UserId(heir) if heir is not None else None
            found = erasing.erase(UserId(person), heir=taker, principal=settings.owner)
        else:
            found = erasing.survey(UserId(person))
    places = [
        {"place": place.column, "rows": count, "fate": place.fate.value} for place, count in found.items()
    ]
    if as_json:
        print_json({"erased": yes, "places": places})
        return
    rows = [(each["place"], each["rows"], each["fate"]) for each in places]
    print_table(("place", "rows", "fate"), rows, empty="Nothing here names this person.")
    if places and not yes:
        say("Nothing was changed yet. Do it with --yes.")


@audit.command("prune", cls=ExampleCommand, examples=("refdesk audit prune", "refdesk audit prune --yes"))
@yes_option
@data_option
@json_option
def prune(yes: bool, data: Path | None, as_json: bool) -> None:
    """Remove records that are older than REFDESK_AUDIT_DAYS; the rest can still be verified.

    Without --yes it only counts them. A trail that is broken is left as it is, since it is evidence. Export first
    what has to be kept elsewhere.
    """
    from retrieval.adapters.sql.audit import SqlAudit
    from retrieval.adapters.sql.audit_pruning import SqlPruning
    from retrieval.wiring import utc_now

    settings = load_settings(data=data)
    before = utc_now() - timedelta(days=settings.audit_days)
    with opened_catalogue(settings) as database, progress_bar() as advance:
        pruning = SqlPruning(database, utc_now)
        count = pruning.due(before)
        if yes and count:
            _refuse_broken(
                SqlAudit(database, utc_now).verify(
                    progress=lambda done, total: advance("verify", done, total)
                )
            )
            count = pruning.prune(
                before,
                principal=settings.owner,
                progress=lambda done, total: advance("prune", done, total),
            )
    print_facts(
        {"pruned" if yes else "would_be_pruned": count, "before": before.isoformat()}, as_json=as_json
    )


@click.command("usage", cls=ExampleCommand, examples=("refdesk usage", "refdesk usage --days 7 --json"))
@click.option(
    "--days", type=click.IntRange(1, 92), default=30, show_default=True, help="How many, today included."
)
@api_json_option
@connected
def usage(days: int, as_json: bool, connection: Connection) -> None:
    """Count questions, answers and tokens by day and source. Needs the scope metrics:read; nobody is named.

    Days and sources that fewer than five people asked about are counted together, or in the total only.
    """
    with open_api(connection) as api:
        found = api.get("usage", days=days)
    if as_json:
        print_json(found)
        return
    rows = [("all", *_tallied(found["total"]))]
    rows += [(day["day"], *_tallied(day)) for day in found["days"]]
    rows += [("other days", *_tallied(rest)) for rest in [found["rest_of_days"]] if rest]
    rows += [(source["name"] or source["source_id"], *_tallied(source)) for source in found["sources"]]
    rows += [("other sources", *_tallied(rest)) for rest in [found["rest_of_sources"]] if rest]
    columns = ("since " + found["since"], "questions", "found", "not found", "tokens", "people")
    print_table(columns, rows, empty="")


def _tallied(tally: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(tally[name] for name in ("questions", "found", "not_found", "tokens", "askers"))


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


def _refuse_broken(verdict: Verdict) -> None:
    if verdict.is_intact:
        return
    where = "" if verdict.broken_at is None else f"record {verdict.broken_at}: "
    raise CommandError(
        "audit_broken",
        where + BROKEN[verdict.reason],
        "Compare with a backup or an export; records from there on cannot be relied on.",
    )


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
