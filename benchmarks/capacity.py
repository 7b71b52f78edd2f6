"""Simulates a large desk: where a plan saturates, and what a question waits for on the way.

    python -m benchmarks.capacity [--plan search|ingest] [--rates 250,500,1000,…] [--jobs N] [--seed N]

The plan is that of docs/scaling.md: 100 million chunks, 1,000 searches a second, 1 million documents an hour. Each
part is a station with some servers and a queue (first come, first served); a search goes to one replica of every
shard at once and goes on when the slowest has answered (fork-join). Arrivals are Poisson, service times lognormal
with the stated mean and coefficient of variation. Times that were measured name the command; the others name
their source in docs/scaling.md. The same seed gives the same numbers.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

N_SHARDS = 12
N_REPLICAS = 3


@dataclass(frozen=True, slots=True)
class Station:
    """A part of the desk that works on some jobs at a time and lets the others wait.

    Attributes:
        servers: Jobs worked on at a time: cores, or slots of a GPU's batch.
        mean_ms: Mean service time of one job on one server, milliseconds.
        variation: Standard deviation of the service time over its mean.
    """

    servers: int
    mean_ms: float
    variation: float = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Stations by name, and the route of a job: stages in order, the stations of one stage all at once."""

    stations: Mapping[str, Station]
    route: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation saw, its first fifth left out as warming up.

    Attributes:
        mean_ms: Mean time from arrival to the end of the route; the percentiles are of the same times.
        done_per_s: Jobs finished per second, from the first counted arrival to the last end.
        busy: Share of each station's servers that worked, 0 to 1, by name.
    """

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    done_per_s: float
    busy: Mapping[str, float]


def search_plan() -> Plan:
    """Searches: the question's vector, every shard, the check in the catalogue, the reply."""
    shards = tuple(f"shard-{number:02}" for number in range(N_SHARDS))
    stations = {
        "query service": Station(servers=24, mean_ms=12.0, variation=0.4),
        # Cores per shard, all replicas together: 12 nodes with 16 cores hold 36 replicas of shards.
        **{shard: Station(servers=12 * 16 // N_SHARDS, mean_ms=8.0, variation=0.6) for shard in shards},
        "catalogue": Station(servers=32, mean_ms=8.0, variation=0.5),
    }
    return Plan(stations, (("query service",), shards, ("catalogue",)))


def ingest_plan() -> Plan:
    """Documents of ten chunks each: parsed, embedded on GPUs, written to every replica, committed."""
    return Plan(
        {
            "parse": Station(servers=64, mean_ms=120.0, variation=2.0),
            "embed": Station(servers=2, mean_ms=2.0, variation=0.5),
            "index": Station(servers=48, mean_ms=10 * N_REPLICAS / 0.76, variation=0.3),
            "catalogue": Station(servers=16, mean_ms=25.0, variation=0.5),
        },
        (("parse",), ("embed",), ("index",), ("catalogue",)),
    )


@dataclass(slots=True)
class _Job:
    arrived_s: float
    stage: int = 0
    n_open: int = 0
    ended_s: float = math.nan


@dataclass(slots=True)
class _Line:
    """A station at work."""

    station: Station
    moments: random.Random
    n_busy: int = 0
    busy_s: float = 0.0
    waiting: deque[_Job] = field(default_factory=deque)

    def service_s(self) -> float:
        spread = math.sqrt(math.log1p(self.station.variation**2))
        middle = math.log(self.station.mean_ms / 1000) - spread**2 / 2
        return self.moments.lognormvariate(middle, spread)


def simulate(plan: Plan, *, rate: float, n_jobs: int, seed: int) -> Outcome:
    """Let `n_jobs` jobs arrive, `rate` a second, and follow each to its end.

    Raises:
        ValueError: The rate or the number of jobs is not positive, or the route names an unknown station.
    """
    if rate <= 0 or n_jobs < 5:
        raise ValueError("the rate must be positive, and there must be at least 5 jobs")
    if unknown := {name for stage in plan.route for name in stage} - set(plan.stations):
        raise ValueError(f"the route names unknown stations: {sorted(unknown)}")
    moments = random.Random(seed)
    lines = {name: _Line(station, moments) for name, station in plan.stations.items()}
    events: list[tuple[float, int, str, _Job]] = []
    order = count()
    jobs: list[_Job] = []
    now = 0.0
    for _ in range(n_jobs):
        now += moments.expovariate(rate)
        jobs.append(_Job(now))
        heapq.heappush(events, (now, next(order), "", jobs[-1]))

    def start(name: str, job: _Job, at_s: float) -> None:
        line = lines[name]
        if line.n_busy == line.station.servers:
            line.waiting.append(job)
            return
        line.n_busy += 1
        spent = line.service_s()
        line.busy_s += spent
        heapq.heappush(events, (at_s + spent, next(order), name, job))

    def enter(job: _Job, at_s: float) -> None:
        if job.stage == len(plan.route):
            job.ended_s = at_s
            return
        names = plan.route[job.stage]
        job.n_open = len(names)
        for name in names:
            start(name, job, at_s)

    while events:
        now, _, name, job = heapq.heappop(events)
        if not name:
            enter(job, now)
            continue
        line = lines[name]
        line.n_busy -= 1
        if line.waiting:
            start(name, line.waiting.popleft(), now)
        job.n_open -= 1
        if not job.n_open:
            job.stage += 1
            enter(job, now)
    return _outcome(jobs, lines, now)


def _outcome(jobs: Sequence[_Job], lines: Mapping[str, _Line], ended_s: float) -> Outcome:
    counted = jobs[len(jobs) // 5 :]
    times = sorted((job.ended_s - job.arrived_s) * 1000 for job in counted)
    return Outcome(
        mean_ms=sum(times) / len(times),
        p50_ms=_percentile(times, 50),
        p95_ms=_percentile(times, 95),
        p99_ms=_percentile(times, 99),
        done_per_s=len(counted) / (max(job.ended_s for job in counted) - counted[0].arrived_s),
        busy={name: line.busy_s / line.station.servers / ended_s for name, line in lines.items()},
    )


def _percentile(ascending: Sequence[float], percent: float) -> float:
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))]


def capacity(plan: Plan) -> tuple[str, float]:
    """The station that saturates first, and the rate at which it does, jobs per second: servers over time."""
    visits = [name for stage in plan.route for name in stage]
    most = {
        name: station.servers * 1000 / station.mean_ms / visits.count(name)
        for name, station in plan.stations.items()
        if name in visits
    }
    name = min(most, key=lambda name: (most[name], name))
    return name, most[name]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plan", choices=("search", "ingest"), default="search")
    parser.add_argument("--rates", default="", help="jobs per second, separated by commas")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=20261124)
    arguments = parser.parse_args()
    plan = search_plan() if arguments.plan == "search" else ingest_plan()
    default = "250,500,1000,1500,1900" if arguments.plan == "search" else "100,200,278,350,450"
    print("| per second | p50 ms | p95 ms | p99 ms | done per second | busiest |")
    print("|---|---|---|---|---|---|")
    for rate in (float(each) for each in (arguments.rates or default).split(",")):
        seen = simulate(plan, rate=rate, n_jobs=arguments.jobs, seed=arguments.seed)
        busiest = max(seen.busy, key=lambda name: seen.busy[name])
        print(
            f"| {rate:.0f} | {seen.p50_ms:.0f} | {seen.p95_ms:.0f} | {seen.p99_ms:.0f} "
            f"| {seen.done_per_s:.0f} | {busiest} {seen.busy[busiest]:.0%} |"
        )
    name, most = capacity(plan)
    print(f"\nsaturates at {most:.0f} per second: {name}")


if __name__ == "__main__":
    main()
