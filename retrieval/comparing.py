"""Comparing two runs over the same queries: which half to tune on, and how sure a difference is. Pure.

- paired bootstrap: Sakai, "Evaluating evaluation metrics based on the bootstrap" (SIGIR 2006); Efron and
  Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13 (percentile interval).
- halves: what is chosen on one half of the queries is reported on the other, so that a setting which merely
  fits its queries does not look like a gain.

Queries count as drawn independently. Where a set asks one thing in several phrasings, they are not, and the
true interval is wider than the one computed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

N_RESAMPLES = 10_000
SEED = 0

ENOUGH_QUERIES = 300
"""Queries from which on a difference is decided. nDCG@10 of two settings of one search differs by query with a
standard deviation of about 0.13, so that half the width of the interval, 1.96 * 0.13 / sqrt(n), is 0.051 with
25 queries, 0.025 with 100 and 0.015 with 300: with fewer, gains of the usual size are noise."""


class Half(StrEnum):
    """Which half of a set's queries."""

    TUNE = "tune"
    TEST = "test"


class Verdict(StrEnum):
    """What may be said about a difference."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "not clear"
    TOO_FEW = "too few queries"


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean difference of two runs over the queries that both answered.

    Attributes:
        mean: This run minus the other one.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        n_queries: Number of queries that both runs answered.
    """

    mean: float
    low: float
    high: float
    n_queries: int

    @property
    def verdict(self) -> Verdict:
        """`TOO_FEW` below `ENOUGH_QUERIES`, else whether the interval lies on one side of zero."""
        if self.n_queries < ENOUGH_QUERIES:
            return Verdict.TOO_FEW
        if self.low > 0:
            return Verdict.BETTER
        return Verdict.WORSE if self.high < 0 else Verdict.OPEN


def half_of(query_id: str) -> Half:
    """The half that a query belongs to, by a hash of its id: the same in every set, run and release.

    >>> [half_of(query).value for query in ("q1", "q2", "q3", "q4")]
    ['test', 'tune', 'tune', 'test']
    """
    is_odd = hashlib.sha256(query_id.encode()).digest()[0] & 1
    return Half.TEST if is_odd else Half.TUNE


def paired_bootstrap(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> PairedDifference:
    """The mean difference over the queries that both have, with its 95 % percentile interval.

    Args:
        ours: Value by query id.
        theirs: The same of the run to compare with.
        n_resamples: How often the queries are drawn anew, with replacement.
        seed: The same seed gives the same interval; swapping the runs mirrors it.

    Raises:
        ValueError: No query is in both.

    >>> paired_bootstrap({"q1": 1.0, "q2": 0.5}, {"q1": 0.5, "q2": 0.0})
    PairedDifference(mean=0.5, low=0.5, high=0.5, n_queries=2)
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise ValueError("the two runs have no query in common")
    differences = np.array([ours[query] - theirs[query] for query in shared])
    draws = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    for resample in range(n_resamples):
        means[resample] = differences[draws.integers(0, len(shared), len(shared))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return PairedDifference(float(differences.mean()), float(low), float(high), len(shared))
