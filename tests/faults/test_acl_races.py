"""Searches while access lists change: nothing after the commit, all of a document or nothing of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.acl_races import Bench, change_large_document, open_bench, race

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

RACES = int(os.environ.get("REFDESK_FAULT_RACES", "100"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty catalogue and index."""
    with open_bench(tmp_path) as opened:
        yield opened


def test_nothing_is_found_after_the_change_is_committed(bench: Bench) -> None:
    """A reader who loses a document while searching for it sees no hit that was checked after the commit."""
    report = race(bench, RACES)
    assert report.stale == 0
    assert report.lost_after == RACES
    assert report.overlapped > 0  # else nothing was raced


def test_a_large_document_changes_hands_at_once(bench: Bench) -> None:
    """Every search shows all the passages it has room for, or none; nothing is embedded."""
    report = change_large_document(bench, 1000, 5)
    assert (report.mixed, report.embedded) == (0, 0)
    assert len(report.sizes) == 2  # both readers had their turn
