"""`refdesk audit`: verify the audit trail. Commands here read the catalogue itself, so no desk need be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.audit import BROKEN, Head, Verdict
from retrieval.settings import Settings, load_settings
from serving.cli.errors import CommandError
from serving.cli.output import progress_bar
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


@click.group()
def audit() -> None:
    """Verify the audit trail."""


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
