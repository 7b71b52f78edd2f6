"""The paired bootstrap against answers known by other means, and the halves of a set."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval.comparing
from retrieval.comparing import Half, PairedDifference, Verdict, half_of, paired_bootstrap

_RUNS = st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=20)


def _differing(n: int, gain: float, spread: float) -> tuple[dict[str, float], dict[str, float]]:
    """Two runs whose differences have this mean and, alternating, this standard deviation."""
    theirs = {f"q{i}": (i % 7) / 10 for i in range(n)}
    signs = {f"q{i}": 1 if i % 2 else -1 for i in range(n)}
    return {query: value + gain + spread * signs[query] for query, value in theirs.items()}, theirs


def test_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    assert doctest.testmod(retrieval.comparing).failed == 0


@given(_RUNS)
def test_a_run_does_not_differ_from_itself(values: dict[str, float]) -> None:
    """The interval of no difference is a point at zero."""
    difference = paired_bootstrap(values, values, n_resamples=50)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)


@given(_RUNS, st.integers(0, 2**31))
def test_swapped_runs_mirror_the_interval(ours: dict[str, float], seed: int) -> None:
    """What one gains the other loses, to the digit that floats allow."""
    theirs = {query: 1 - value for query, value in ours.items()}
    forth = paired_bootstrap(ours, theirs, n_resamples=200, seed=seed)
    back = paired_bootstrap(theirs, ours, n_resamples=200, seed=seed)
    assert forth.mean == pytest.approx(-back.mean)
    assert forth.low == pytest.approx(-back.high)
    assert forth.high == pytest.approx(-back.low)


@given(_RUNS)
def test_the_interval_holds_the_smallest_and_largest_difference_at_most(ours: dict[str, float]) -> None:
    """No resample can leave the range of what was observed."""
    difference = paired_bootstrap(ours, dict.fromkeys(ours, 0.5), n_resamples=100)
    observed = [value - 0.5 for value in ours.values()]
    assert min(observed) - 1e-9 <= difference.low <= difference.high <= max(observed) + 1e-9


def test_the_width_is_that_of_the_normal_interval() -> None:
    """With many queries the percentile interval is mean +- 1.96 s / sqrt(n), the central limit theorem's."""
    ours, theirs = _differing(400, gain=0.02, spread=0.1)
    difference = paired_bootstrap(ours, theirs)
    half_width = 1.96 * 0.1 / math.sqrt(400)
    assert difference.mean == pytest.approx(0.02)
    assert difference.low == pytest.approx(0.02 - half_width, abs=0.001)
    assert difference.high == pytest.approx(0.02 + half_width, abs=0.001)


def test_two_queries_give_the_binomial_quantiles() -> None:
    """Means of resamples are 0, 1/2 and 1 with shares 1/4, 1/2 and 1/4: the 2.5th and 97.5th are the ends."""
    difference = paired_bootstrap({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0})
    assert (difference.mean, difference.low, difference.high) == (0.5, 0, 1)


def test_only_pairs_count() -> None:
    """Queries of one run alone change nothing, and pairing removes what queries differ by among themselves."""
    ours, theirs = _differing(400, gain=0.05, spread=0.0)
    alone = paired_bootstrap({**ours, "only ours": 0.0}, {**theirs, "only theirs": 1.0})
    assert alone == paired_bootstrap(ours, theirs)
    assert alone.n_queries == 400
    assert alone.low == pytest.approx(alone.high)


def test_the_seed_decides_the_interval() -> None:
    """The same seed gives the same one, another seed another one."""
    ours, theirs = _differing(60, gain=0.01, spread=0.1)
    assert paired_bootstrap(ours, theirs, seed=1) == paired_bootstrap(ours, theirs, seed=1)
    assert paired_bootstrap(ours, theirs, seed=1) != paired_bootstrap(ours, theirs, seed=2)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 200 samples from a known law about 95 % have the true mean inside; 90 to 99 % is what chance allows."""
    import numpy as np

    draws = np.random.default_rng(7)
    hits = 0
    for seed in range(200):
        sample = {f"q{i}": float(value) for i, value in enumerate(draws.normal(0.03, 0.1, 100))}
        found = paired_bootstrap(sample, dict.fromkeys(sample, 0.0), n_resamples=500, seed=seed)
        hits += found.low <= 0.03 <= found.high
    assert 180 <= hits <= 198


def test_runs_without_a_shared_query_cannot_be_compared() -> None:
    """There is nothing to take a difference of."""
    with pytest.raises(ValueError, match="in common"):
        paired_bootstrap({"a": 1.0}, {"b": 1.0})


@pytest.mark.parametrize(
    ("low", "high", "n_queries", "verdict"),
    [
        (0.01, 0.02, 300, Verdict.BETTER),
        (-0.02, -0.01, 300, Verdict.WORSE),
        (-0.01, 0.02, 300, Verdict.OPEN),
        (0.0, 0.02, 300, Verdict.OPEN),
        (0.01, 0.02, 299, Verdict.TOO_FEW),
    ],
)
def test_a_difference_is_decided_by_an_interval_beside_zero(
    low: float, high: float, n_queries: int, verdict: Verdict
) -> None:
    """And only with enough queries, however clear it looks."""
    assert PairedDifference((low + high) / 2, low, high, n_queries).verdict is verdict


def test_halves_are_even_and_do_not_depend_on_the_other_queries() -> None:
    """Either holds about half of a thousand ids: 500 +- 3.3 standard deviations."""
    tuned = [query for query in map(str, range(1000)) if half_of(query) is Half.TUNE]
    assert 448 <= len(tuned) <= 552
