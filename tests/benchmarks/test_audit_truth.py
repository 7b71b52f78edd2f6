"""The audit trail says what the model saw; `python -m benchmarks.audit_truth` asks 10,000 questions instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.audit_truth import BlockedReport, block, compare, holds, tamper
from serving.desk import Desk
from tests.desks import shared_desk

pytestmark = [pytest.mark.xdist_group("quality"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """The sample handbook's desk."""
    with shared_desk() as desk:
        yield desk


def test_the_trail_says_what_the_model_saw(desk: Desk, tmp_path: Path) -> None:
    """Also where the question asks not to be logged; changes are found; without a record nothing leaves."""
    truth = compare(desk, 100)
    blocked = block(desk, 10)
    chain = tamper(desk.settings.data / "catalogue.db", tmp_path)
    assert truth.differing == 0
    assert (truth.answers, truth.hushed) == (100, 10)
    assert blocked == BlockedReport(20, 0, 0, 0, 0)
    assert [what for what, was_found in chain.found.items() if not was_found] == []
    assert holds(truth, chain, blocked)
    assert not holds(replace(truth, differing=1), chain, blocked)
    assert not holds(truth, replace(chain, is_intact=False), blocked)
    assert not holds(truth, chain, replace(blocked, words_left=1))
