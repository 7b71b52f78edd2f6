"""Which suite notices which seeded defect, and by what.

python -m benchmarks.permissions.hunting NAME      run the plain test of a defect with the defect in place
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.permissions.matrix import KINDS, ROUTES, open_lineup, told_apart, wrong
from benchmarks.permissions.mutants import MUTANTS, Mutant, applied
from benchmarks.permissions.run import watch
from benchmarks.permissions.world import open_world

MOST_CHECKS = 12_000
_SEEDS = (101, 102, 103)


def noticed(name: str) -> str:
    """What gives a defect away: suite, surface and what was wrong with it; empty when nobody notices."""
    mutant = MUTANTS[name]
    if "::" in mutant.suite:
        return _by_test(name)
    return _by_matrix(mutant) if mutant.suite == "matrix" else _by_oracle(mutant)


def main() -> int:
    """Run one plain test with a defect in place; exit code of pytest."""
    mutant = MUTANTS[sys.argv[1]]
    with applied(mutant):
        return pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:randomly", mutant.suite])


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "state"


def _by_test(name: str) -> str:
    """A process of its own, since a defect must not reach tests that run beside it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.permissions.hunting", name],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == pytest.ExitCode.TESTS_FAILED:
        return f"test: {MUTANTS[name].suite}"
    if done.returncode == pytest.ExitCode.OK:
        return ""
    raise RuntimeError(f"the test could not be run: {(done.stdout + done.stderr)[-2000:]}")


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


if __name__ == "__main__":
    sys.exit(main())
