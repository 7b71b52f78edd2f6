"""Workers are killed at every named point and at random moments, on each broker; nothing is lost or doubled.

`make faults N=300 DOCS=5000 SEED=… BROKER=redis|rabbitmq` runs as much of it as wanted; a seed replays it.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import skip_without
from tests.faults.rig import Rig, Worker, open_rig
from tests.faults.worker_under_fire import POINTS

N_KILLS = int(os.environ.get("REFDESK_FAULT_N", "40"))
N_DOCS = int(os.environ.get("REFDESK_FAULT_N_DOCS") or "400")
SEED = int(os.environ.get("REFDESK_FAULT_SEED", "20261124"))
BROKERS = os.environ.get("REFDESK_FAULT_BROKER", "redis,rabbitmq").split(",")
LEASE_S = float(os.environ.get("REFDESK_FAULT_LEASE_S", "8"))
TIMEOUT_S = 300 + N_KILLS * 20 + N_DOCS

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.timeout(TIMEOUT_S)]

_LONGEST_LIFE_S = 20.0
_OF_A_SYNC = {"register", "tombstone"}
"""Points that a worker passes once in a sync, and only when the sync falls to it."""
_RARE = {*_OF_A_SYNC, "bury"}
_LONGEST_RARE_LIFE_S = 180 + N_DOCS / 5
"""Such a worker waits until enough is worked off for another change to be made."""
_EVERY_TIME = {*_RARE, "sent", "marked"}
"""Points at which a worker ends the first time that it gets there."""


@pytest.mark.parametrize("broker", BROKERS)
def test_killed_workers_lose_double_and_overwrite_nothing(
    broker: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """SIGKILLs while documents come, change and go: files, catalogue and index agree in the end."""
    skip_without("postgres", f"{broker}-server")
    n_kills = N_KILLS // len(BROKERS)
    with open_rig(tmp_path / "rig", broker, seed=SEED, lease_s=LEASE_S) as rig:
        rig.docs.write(N_DOCS)
        reached = _kill(rig, n_kills, random.Random(SEED), say)
        rig.sync()
        for _ in range(2):
            rig.start_worker()
        took_s = rig.wait_until_idle(180 + N_DOCS / 5)
        resumed = np.asarray(rig.resumed_s or [0.0])
        p95, longest = float(np.percentile(resumed, 95)), float(resumed.max())
        say(f"{broker}: {n_kills} kills {dict(sorted(reached.items()))}")
        assert {*POINTS[:n_kills]} <= set(reached), "a point was never reached"
        say(
            f"{len(rig.resumed_s)} jobs cut off, resumed p95 {p95:.1f} s, max {longest:.1f} s, idle {took_s:.0f} s"
        )
        assert rig.faults() == {}
        assert p95 <= 60
        assert longest <= 180
        rig.reconcile()
        rig.wait_until_idle(60)
        assert rig.faults() == {}


def _kill(rig: Rig, n_kills: int, moments: random.Random, say: Callable[[str], None]) -> Counter[str]:
    """Kill `n_kills` workers: half at a named point, in turn, each of them at least once; half at random moments.

    Two are alive at a time. One that is to end in a sync takes nothing else, beside one that takes all but syncs.
    """
    sync = rig.sync()
    takes_the_rest: Worker | None = None
    points = _plan(n_kills, moments)
    reached: Counter[str] = Counter()
    alive: dict[Worker, float] = {}
    dies_at: dict[Worker, float] = {}
    while points or alive:
        while points and len(alive) < _room([points[-1], *(worker.orders.point for worker in alive)]):
            point = points.pop()
            after = 0 if point in _EVERY_TIME else moments.randrange(12)
            queues = "urgent,sync" if point in _OF_A_SYNC else ""
            if queues and takes_the_rest is None:
                takes_the_rest = rig.start_worker(queues="index,maintenance")
            alive[rig.start_worker(point=point, after=after, queues=queues)] = _life_s(point, moments)
        # One change per sync: a folder that shrinks faster than it is read is held back, as it should be.
        if rig.jobs.job(sync.id).state.is_finished and rig.jobs.unfinished() < N_DOCS // 8:
            rig.docs.change(updates=N_DOCS // 8, deletions=N_DOCS // 40, returns=N_DOCS // 40)
            sync = rig.sync()
        time.sleep(0.1)
        for worker, life_s in list(alive.items()):
            if worker.is_ready:
                dies_at.setdefault(worker, time.monotonic() + life_s)
            if not worker.has_ended and time.monotonic() < dies_at.get(worker, float("inf")):
                continue
            reached[worker.orders.point if worker.has_ended else "random"] += 1
            worker.kill()
            rig.died(worker)
            del alive[worker]
            if sum(reached.values()) % 10 == 0:
                say(f"{sum(reached.values())}/{n_kills} killed, {rig.jobs.unfinished()} jobs unfinished")
    return reached


def _plan(n_kills: int, moments: random.Random) -> list[str]:
    """The points, to be taken from the end, those of a sync last; empty for a random moment."""
    n_points = max(n_kills // 2, min(n_kills, len(POINTS)))
    plan = [*POINTS] * (n_points // len(POINTS) + 1)
    points = [*plan[:n_points], *([""] * (n_kills - n_points))]
    moments.shuffle(points)
    return sorted(points, key=lambda point: point not in _OF_A_SYNC)


def _room(points: Sequence[str]) -> int:
    return 1 if _OF_A_SYNC & set(points) else 2


def _life_s(point: str, moments: random.Random) -> float:
    if not point:
        return moments.uniform(1.5, 6)
    return _LONGEST_RARE_LIFE_S if point in _RARE else _LONGEST_LIFE_S
