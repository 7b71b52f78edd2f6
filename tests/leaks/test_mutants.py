"""Every seeded defect in the permission code is noticed, by the suite that is to notice it."""

from __future__ import annotations

import pytest

from benchmarks.permissions.hunting import noticed
from benchmarks.permissions.mutants import MUTANTS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_there_are_forty() -> None:
    """The list does not shrink unseen."""
    assert len(MUTANTS) >= 40


@pytest.mark.parametrize("name", MUTANTS)
def test_defect_is_noticed(name: str) -> None:
    """With the defect, a reply tells what it may not, or hides what it may not."""
    assert noticed(name)
