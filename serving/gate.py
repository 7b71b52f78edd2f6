"""Whether there is enough evidence to answer at all. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from serving.answer import Window

_THRESHOLD = 0.55


def is_sufficient(evidence: Sequence[Window]) -> bool:
    """Whether the best evidence is good enough for an answer instead of "not found"."""
    return bool(evidence) and confidence(evidence) >= _THRESHOLD


def confidence(evidence: Sequence[Window]) -> float:
    """How sure the desk is that the best window answers the question; higher is surer."""
    best = evidence[0]
    return 0.5 * best.words + best.meaning
