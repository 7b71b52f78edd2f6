"""A run: a world in which things happen, and after each of them somebody asks everywhere."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from benchmarks.permissions.judging import Judge, Report
from benchmarks.permissions.surfaces import INSIDE, SURFACES, Surface
from benchmarks.permissions.world import World, open_world

_ASKED_PER_STEP = 8


def watch(world: World, *, n_checks: int, stop: Callable[[Report], bool] = lambda _: False) -> Report:
    """Let things happen in a world and ask, until so many checks were made or `stop` says so."""
    report = Report()
    judge = Judge(world, report)
    plan = _rounds(world)
    while report.n_checks < n_checks and not stop(report):
        for _ in range(world.dice.randint(1, 3)):
            world.step()
        judge.turn()
        for _ in range(_ASKED_PER_STEP):
            judge.viewer = world.dice.choice(world.viewers())
            judge.surface, surface = next(plan)
            surface(judge)
    return report


def run(seed: int, *, n_checks: int, index_url: str = "", n_papers: int = 30) -> Report:
    """A new world from a seed, watched for so many checks. The same seed, the same world and questions."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_world(Path(folder), seed, index_url=index_url, n_papers=n_papers) as world,
    ):
        return watch(world, n_checks=n_checks)


def _rounds(world: World) -> Iterator[tuple[str, Surface]]:
    """Every surface in turn, in another order each round."""
    asks = [(" ".join(route), each) for route, surfaces in SURFACES.items() for each in surfaces]
    asks += [("the index itself", each) for each in INSIDE]
    for _ in count():
        world.dice.shuffle(asks)
        yield from asks
