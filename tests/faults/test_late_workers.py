"""Workers that hang, and documents that kill: late writers are refused, poison ends in quarantine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.faults.rig import open_rig
from tests.faults.scenarios import IDLE_S, LEASE_S, cut_off, overtaken
from tests.faults.worker_under_fire import POINTS

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.timeout(900)]

STAGES = ("fetch", "parse", "embed", "stage", "upsert", "publish")


@pytest.mark.parametrize("point", STAGES)
def test_woken_worker_overwrites_and_deletes_nothing(point: str, tmp_path: Path) -> None:
    """A worker stopped at any stage wakes up after newer text went live: that stays, with all its points."""
    skip_without("postgres", "redis-server")
    assert point in POINTS
    with open_rig(tmp_path / "rig", "redis", seed=1, lease_s=LEASE_S) as rig:
        assert overtaken(rig, point) == {}


def test_deadly_document_is_quarantined_and_its_neighbours_are_live(tmp_path: Path) -> None:
    """A document that kills its worker each time ends as `worker_lost`; everything else gets in."""
    skip_without("postgres", "redis-server")
    with open_rig(tmp_path / "rig", "redis", seed=1, lease_s=LEASE_S) as rig:
        rig.docs.write(6)
        rig.sync()
        worker = rig.start_worker(poison="00003")
        while rig.jobs.unfinished():
            if worker.has_ended:
                worker = rig.start_worker(poison="00003")
            time.sleep(0.2)
        rows = rig.rows(
            "select external_id, state, error_code, attempts from documents where state <> 'live'"
        )
        assert rows == [("00003.md", "quarantined", "worker_lost", 3)]
        assert rig.faults() == {"lost": ["00003.md"]}


def test_honest_death_is_no_attempt(tmp_path: Path) -> None:
    """Documents whose worker was killed once are live afterwards, and no attempt is held against them."""
    skip_without("postgres", "redis-server")
    with open_rig(tmp_path / "rig", "redis", seed=1, lease_s=LEASE_S) as rig:
        assert cut_off(rig, "embed") == {}
        assert rig.rows("select count(*) from jobs where state = 'failed' or attempt > 1") == [(0,)]
        rig.wait_until_idle(IDLE_S)
