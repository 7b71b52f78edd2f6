"""Short stories of one failure each, told on a rig; `tests.faults.test_mutants` tells them with defects, too."""

from __future__ import annotations

import time

from tests.faults.rig import Rig

LEASE_S = 3.0
IDLE_S = 120.0


def cut_off(rig: Rig, point: str, *, mutant: str = "") -> dict[str, list[str]]:
    """A worker dies at a point, another one goes on; then documents are deleted. Gives the faults found."""
    rig.docs.write(12)
    rig.sync()
    first = rig.start_worker(point=point, mutant=mutant)
    ends_at = time.monotonic() + 90
    while not first.has_ended:
        assert time.monotonic() < ends_at, f"the worker did not reach {point}"
        time.sleep(0.1)
    rig.start_worker(mutant=mutant)
    rig.wait_until_idle(IDLE_S)
    rig.docs.change(updates=2, deletions=2, returns=0)
    rig.sync()
    rig.wait_until_idle(IDLE_S)
    return rig.faults()


def overtaken(rig: Rig, point: str, *, mutant: str = "") -> dict[str, list[str]]:
    """A worker is stopped at a point; another one takes over and brings in newer text; the first wakes up."""
    rig.docs.write(1)
    rig.sync()
    late = rig.start_worker(point=point, how="stop", concurrency=1, mutant=mutant)
    late.wait_until_stopped(90)
    rig.docs.change(updates=1, deletions=0, returns=0)
    rig.sync()
    other = rig.start_worker(concurrency=1)
    rig.wait_until_idle(IDLE_S)
    other.kill()
    late.resume()
    time.sleep(4)
    late.kill()
    return rig.faults()
