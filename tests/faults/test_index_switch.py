"""Switches and rollbacks under search: no error, no mixed answer, and a way back that takes no time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.index_switch import QUESTIONS, build, is_expected, mixed_answer, pure_answers, switch
from serving.embedded import EmbeddedDesk
from tests.desks import sample_desk
from tests.rotated import opening_rotated

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

SWITCHES = int(os.environ.get("REFDESK_FAULT_SWITCHES", "3"))
RATE = 20.0
LONGEST_ROLLBACK_MS = 5000


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[EmbeddedDesk]:
    """The sample handbook indexed by the plain model, on a desk whose model is the rotated one now."""
    with sample_desk(tmp_path / "state", opener=opening_rotated()) as embedded:
        yield embedded


def test_switches_under_search(desk: EmbeddedDesk) -> None:
    """Every search is answered, by one of the two indexes and its own model."""
    report = switch(desk, switches=SWITCHES, rate=RATE)
    assert report.searches > 0
    assert (report.errors, report.mixed) == ({}, 0)
    assert report.rollback_ms_max < LONGEST_ROLLBACK_MS


def test_a_mixed_answer_would_be_noticed(desk: EmbeddedDesk) -> None:
    """A question of one space asked of the other's index finds what neither pure index finds."""
    build(desk)
    pure = pure_answers(desk)
    assert not any(is_expected(mixed_answer(desk, question), pure[question]) for question in QUESTIONS)
