"""Whether there is enough evidence to answer at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from retrieval.corpus import Passage
from serving.answer import Window

_ENOUGH = 0.9
"""Score of the best window from which on an answer is given; fitted on public questions (docs/answers.md)."""

_MISSING_IDENTIFIER = 1.0
"""Taken off the score when no identifier of the question occurs with the window, in part for some of them."""

_MISSING_NAME = 0.6
"""The same for capitalised words, which need not be names."""

_IDENTIFIER = re.compile(r"\b(?:[A-Za-z]+[-.]?\d[\w.-]*|\d{3,}[\w.-]*)\b")
_CAPITALISED = re.compile(r"(?<=[^\W\d_][ ,])[A-ZÀ-Þ][\w-]*")
_WORD = re.compile(r"\w+")
_MANY_CAPITALS = 0.6
"""From this share of capitalised words on, capitals mean nothing: titles, shouting."""


def is_sufficient(question: str, windows: Sequence[Window]) -> bool:
    """Whether the best evidence is good enough for an answer instead of "not found"."""
    return bool(windows) and confidence(question, windows[0]) >= _ENOUGH


def confidence(question: str, best: Window) -> float:
    """How sure the desk is that a window answers a question; higher is surer.

    A window about something alike is the usual trap: the right policy, but of another site, or the error
    code next to the one asked for. So names and identifiers of the question must occur with the window.
    """
    there = _surroundings(best.hit.passage)
    lacking = _MISSING_IDENTIFIER * _share_missing(identifiers(question), there)
    lacking += _MISSING_NAME * _share_missing(names(question), there)
    return best.score - lacking


def identifiers(question: str) -> frozenset[str]:
    """Codes and longer numbers in a question, for example `TN-66` or `3145`."""
    return frozenset(_IDENTIFIER.findall(question))


def names(question: str) -> frozenset[str]:
    """Capitalised words within a question, unless so many are that capitals mean nothing."""
    words = _WORD.findall(question)
    capitals = [word for word in words[1:] if word[:1].isupper()]
    if len(capitals) > _MANY_CAPITALS * len(words):
        return frozenset()
    return frozenset(_CAPITALISED.findall(question)) - identifiers(question)


def _share_missing(wanted: frozenset[str], there: str) -> float:
    return sum(word.casefold() not in there for word in wanted) / len(wanted) if wanted else 0.0


def _surroundings(passage: Passage) -> str:
    parts = (passage.title, passage.external_id, *passage.heading_path, passage.context, passage.text)
    return "\n".join(parts).casefold()
