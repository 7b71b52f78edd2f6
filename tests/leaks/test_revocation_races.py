"""Whoever loses a right while searching is shown nothing by a request that is sent after the commit."""

from __future__ import annotations

from pathlib import Path

from benchmarks.revocation_races import open_revocation_bench, race

_RACES_EACH = 6


def test_nothing_is_shown_after_a_right_was_taken_away(tmp_path: Path) -> None:
    """By membership, by a group in a group, by account, by key and by the document's list."""
    with open_revocation_bench(tmp_path) as bench:
        n_ways = len(bench.ways())
        reports = race(bench, _RACES_EACH * n_ways)
    assert [report.races for report in reports.values()] == [_RACES_EACH] * n_ways
    assert [report.stale for report in reports.values()] == [0] * n_ways
    assert all(report.overlapped for report in reports.values())  # else nothing was raced
