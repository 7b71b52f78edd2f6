"""Hostile files among good ones, in small: the benchmark's verdict on two dozen of them."""

from __future__ import annotations

import pytest

from benchmarks.hostile_share import measure

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_hostile_files_end_with_their_reason_and_hurt_nobody() -> None:
    """Everything ends, labelled files with the right reason, and no parser process dies of a file."""
    report = measure(20, 6, None, 7, n_pairs=1)
    assert report.unfinished == 0
    assert report.labelled >= 10
    assert report.wrong == []
    assert report.parser_restarts == 0
