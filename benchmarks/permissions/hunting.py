"""Which suite notices which seeded defect, and by what."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.permissions.matrix import KINDS, ROUTES, open_lineup, told_apart, wrong
from benchmarks.permissions.mutants import MUTANTS, Mutant, applied
from benchmarks.permissions.run import watch
from benchmarks.permissions.world import open_world

MOST_CHECKS = 12_000
_SEEDS = (101, 102, 103)


def noticed(name: str) -> str:
    """What gives a defect away: suite, surface and what was wrong with it; empty when nobody notices."""
    mutant = MUTANTS[name]
    return _by_matrix(mutant) if mutant.suite == "matrix" else _by_oracle(mutant)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "state"


def _by_oracle(mutant: Mutant) -> str:
    """New organisations, sound until they are founded, in which things happen until something is wrong."""
    for seed in _SEEDS:
        with (
            _folder() as folder,
            open_world(folder, seed, n_papers=14, features=mutant.features) as world,
            applied(mutant),
        ):
            try:
                report = watch(
                    world, n_checks=MOST_CHECKS // len(_SEEDS), stop=lambda now: bool(now.violations)
                )
            except AssertionError as failure:
                return f"oracle: what happens: {str(failure)[:80]}"
            if report.violations:
                first = report.violations[0]
                return f"oracle: {first.surface}: {first.what[:80]}"
    return ""


def _by_matrix(mutant: Mutant) -> str:
    with _folder() as folder, open_lineup(folder) as lineup:
        for name in KINDS:
            lineup.things_for(name, fresh=False)
        with applied(mutant):
            for route in ROUTES:
                for name in KINDS if mutant.routes in route[1] else ():
                    fault = wrong(lineup, route, name, careful=True)
                    if fault:
                        return f"matrix: {' '.join(route)} by {name}: {fault[:80]}"
            for name in KINDS:
                route_name = told_apart(lineup, name)
                if route_name:
                    return f"matrix: {route_name} by {name}: hidden and absent differ"
    return ""
