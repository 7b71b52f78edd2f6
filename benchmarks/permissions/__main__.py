"""Compares the desk with the oracle, over as many checks as are wanted, and with `--mutants` on seeded defects.

usage: python -m benchmarks.permissions [--checks N] [--seed N] [--index edge|server] [--mutants] [--json FILE]

Each world takes 10,000 checks and has the next seed. A violation names its seed and step: the same seed makes the
same world and asks the same questions. Exit code 1 when there is a violation, or a mutant that nobody noticed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.permissions.hunting import noticed
from benchmarks.permissions.judging import Report
from benchmarks.permissions.mutants import MUTANTS
from benchmarks.permissions.run import run
from tests.services import servers

_CHECKS_PER_WORLD = 10_000


@contextmanager
def index_at(name: str) -> Iterator[str]:
    """URL of an index server, empty for the embedded engine."""
    if name == "edge":
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder, servers.qdrant(Path(folder) / "server") as server:
        yield server.url


def compare(n_checks: int, seed: int, index: str) -> Report:
    """World after world until so many checks are made; progress and violations go to stderr."""
    total = Report()
    began = time.monotonic()
    with index_at(index) as url:
        while total.n_checks < n_checks:
            due = min(_CHECKS_PER_WORLD, n_checks - total.n_checks)
            report = run(seed, n_checks=due, index_url=url)
            for violation in report.violations:
                print(f"VIOLATION {violation}", file=sys.stderr, flush=True)
            total.add(report)
            seed += 1
            done = f"{total.n_checks:,} of {n_checks:,} checks, {len(total.violations)} violations"
            print(f"{time.monotonic() - began:7.1f} s  {done}", file=sys.stderr, flush=True)
    return total


def hunt() -> int:
    """Put every defect in, one after the other, and print who noticed; 1 when nobody did."""
    missed = 0
    for name in MUTANTS:
        by = noticed(name)
        missed += not by
        print(f"{name:28}  {by or 'NOT NOTICED'}", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} noticed")
    return 1 if missed else 0


def main() -> int:
    """Run, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checks", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--index", choices=("edge", "server"), default="edge")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--mutants", action="store_true")
    given = parser.parse_args()
    if given.mutants:
        return hunt()
    report = compare(given.checks, given.seed, given.index)
    for surface, n_checks in sorted(report.checks.items()):
        print(f"{n_checks:>10,}  {surface}")
    print(f"{report.n_checks:>10,}  checks in {report.requests:,} requests")
    if given.json is not None:
        found = {
            "checks": dict(report.checks),  # `asdict` cannot copy a Counter
            "requests": report.requests,
            "violations": [asdict(violation) for violation in report.violations],
        }
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
