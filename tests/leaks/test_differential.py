"""Random organisations on a real desk: whatever anybody asks, the desk and the oracle say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from benchmarks.permissions.run import run
from benchmarks.permissions.surfaces import SILENT, SURFACES
from tests.services import servers

pytestmark = pytest.mark.timeout(600)

SEEDS = (11, 12, 13, 14)
CHECKS_EACH = 2_500


def test_every_route_is_asked_or_said_to_be_silent(app: FastAPI) -> None:
    """A new route fails here until it is among the surfaces, or it is said why it tells nothing."""
    described = app.openapi()["paths"].items()
    routes = {(method.upper(), path) for path, operations in described for method in operations}
    assert not routes - SURFACES.keys() - SILENT.keys(), "add them to benchmarks/permissions/surfaces.py"
    assert not (SURFACES.keys() | SILENT.keys()) - routes, "there are no such routes any more"
    assert not SURFACES.keys() & SILENT.keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_desk_and_oracle_agree(seed: int) -> None:
    """No hidden id, title, count or run of words in any reply, and everything readable is found."""
    report = run(seed, n_checks=CHECKS_EACH, n_papers=24)
    assert not report.violations, report.violations
    assert report.n_checks >= CHECKS_EACH
    assert (
        len(report.checks) >= len(SURFACES) - 1
    )  # a short run may meet an administrator, or a lagging index


def test_desk_and_oracle_agree_on_an_index_server(tmp_path: Path) -> None:
    """So they do where the index is another process, spoken to by its client and shared with another desk."""
    with servers.qdrant(tmp_path / "server") as server:
        reports = [
            run(seed, n_checks=CHECKS_EACH // 2, n_papers=24, index_url=server.url) for seed in (21, 22)
        ]
    assert not [violation for report in reports for violation in report.violations]


def test_the_same_seed_asks_the_same() -> None:
    """A violation can be replayed by its seed."""
    first, again = (run(31, n_checks=300, n_papers=8) for _ in range(2))
    assert (first.checks, first.requests) == (again.checks, again.requests)
