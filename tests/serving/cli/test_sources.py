"""`refdesk sources …` and `refdesk sync`: from a new source to its removal."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from serving.cli.shape import Duration, span
from tests.serving.cli.conftest import Refdesk


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800), ("off", 0)]
)
def test_durations(written: str, seconds: int) -> None:
    """Durations are written as people write them."""
    assert Duration().convert(written, None, None) == seconds


@pytest.mark.parametrize("written", ["", "5", "1 h", "-1s", "1w"])
def test_no_durations(written: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(click.BadParameter):
        Duration().convert(written, None, None)


def test_spans() -> None:
    """The largest unit that says enough."""
    assert [span(s) for s in (None, 5, 119, 120, 7200, 200_000)] == [
        "",
        "5 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]


def test_a_source_from_first_to_last(refdesk: Refdesk, tmp_path: Path) -> None:
    """Added, looked at, synced dry and for good, paused, resumed, re-indexed, removed."""
    (tmp_path / "fern.txt").write_text("Ferns are kept in the orangery.")
    made = refdesk("sources", "add", "garden", "--id", "garden", "--folder", tmp_path)
    assert made.stdout == "garden\n"
    assert refdesk("sync", "garden", "--dry-run").stdout.splitlines() == [
        "garden: 1 added, 0 modified, 0 touched, 0 unchanged, 0 expired, 0 deleted",
        "  + fern.txt",
    ]
    assert refdesk("sync", "garden").stdout.startswith("garden: 1 added")
    changed = refdesk(
        "sources", "set", "garden", "--every", "6h", "--freshness", "2h", "--option", "watch=true"
    ).stdout
    assert 'options\t{"watch": true}' in changed
    assert "at most 2 h" in changed
    assert "synced every\t6 h" in refdesk("sources", "show", "garden").stdout
    aged = refdesk("sources", "set", "garden", "--acl-every", "off", "--acl-max-age", "3d").stdout
    assert re.search(r"permissions\t\d+ s old, at most 3 d", aged)
    assert "refreshed every" not in aged
    assert (
        refdesk("sync", "garden", "--access-only").stdout == "garden: 0 changed, 0 withdrawn, 1 unchanged\n"
    )
    assert refdesk("sync", "garden", "--access-only", "--dry-run").exit_code == 2
    assert "asked for\t1 added" in refdesk("sources", "show", "garden").stdout
    assert "condition\tpaused" in refdesk("sources", "pause", "garden").stdout
    assert refdesk("sync", "garden").stderr.startswith("conflict: the source is paused")
    assert "condition\twell" in refdesk("sources", "resume", "garden").stdout
    assert refdesk("reindex", "--source", "garden", "--path", "fern.txt").stdout == "1 queued\n1 live\n"
    assert refdesk("sources", "remove", "garden", "--yes").stdout == "garden: removed\n"
    assert refdesk("sources", "show", "garden").exit_code == 3
    assert refdesk("docs", "--find", "fern").stdout == "No document that you may read.\n"
