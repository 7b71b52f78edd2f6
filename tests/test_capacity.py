"""The simulation of a large desk agrees with what queueing theory knows exactly."""

from __future__ import annotations

import pytest

from benchmarks.capacity import Plan, Station, capacity, ingest_plan, search_plan, simulate


def test_one_server_waits_as_the_formula_says() -> None:
    """Pollaczek and Khinchine: the mean wait in M/G/1 is rate · E[S²] / (2 · (1 - load))."""
    mean_s, variation, rate = 0.010, 0.8, 70.0
    plan = Plan({"one": Station(1, mean_s * 1000, variation)}, (("one",),))
    seen = simulate(plan, rate=rate, n_jobs=60_000, seed=7)
    second_moment = mean_s**2 * (1 + variation**2)
    expected_ms = 1000 * (mean_s + rate * second_moment / (2 * (1 - rate * mean_s)))
    assert seen.mean_ms == pytest.approx(expected_ms, rel=0.08)
    assert seen.busy["one"] == pytest.approx(rate * mean_s, rel=0.03)


def test_a_stage_waits_for_its_slowest_station() -> None:
    """Two idle stations side by side take as long as the slower one, not as long as both."""
    plan = Plan({"quick": Station(50, 5, 0.01), "slow": Station(50, 40, 0.01)}, (("quick", "slow"),))
    assert simulate(plan, rate=10, n_jobs=500, seed=1).mean_ms == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize("plan", [search_plan(), ingest_plan()], ids=["search", "ingest"])
def test_a_plan_saturates_where_its_arithmetic_says(plan: Plan) -> None:
    """Beyond the computed capacity the named station is full and the rate stays at the capacity."""
    name, most = capacity(plan)
    seen = simulate(plan, rate=most * 3, n_jobs=4_000, seed=3)
    assert max(seen.busy, key=lambda station: seen.busy[station]) == name or seen.busy[name] > 0.8
    assert seen.done_per_s <= most * 1.1
    assert simulate(plan, rate=most / 2, n_jobs=4_000, seed=3).p95_ms < seen.p50_ms


def test_the_same_seed_gives_the_same_numbers() -> None:
    """And another seed gives others."""
    runs = [simulate(search_plan(), rate=500, n_jobs=500, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_what_cannot_be_simulated_is_refused() -> None:
    """A route to nowhere, or no arrivals."""
    plan = Plan({"one": Station(1, 1)}, (("two",),))
    with pytest.raises(ValueError, match="unknown stations"):
        simulate(plan, rate=1, n_jobs=10, seed=1)
    with pytest.raises(ValueError, match="positive"):
        simulate(search_plan(), rate=0, n_jobs=10, seed=1)
