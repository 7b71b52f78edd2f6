"""Measures of answers against what was expected: words, citations, and when to say nothing. Pure.

Definitions:

- exact match and F1: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (2016),
  section 6.1: case, punctuation and English articles are folded; the best of the accepted answers counts.
- containment: whether an accepted answer stands in the answer word for word, as in "string match" of open
  question answering (Lee et al., "Latent Retrieval for Weakly Supervised Open Domain Question Answering",
  2019). The fitting measure for extracts, which quote whole sentences.
- citation precision and recall: share of the cited documents that are relevant, and of the relevant ones
  that are cited; a question without an answer has cited nothing.
- abstention: saying "not found" is a prediction that the question has no answer; precision and recall of it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

_MARKER = re.compile(r"\[\d+\]")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’„«»…–—")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a set says about one question.

    Attributes:
        answers: Accepted answers; empty when the set states none.
        is_answerable: Whether the corpus holds an answer.
        relevant: Ids of the documents that hold it; empty when the set does not say.
    """

    answers: tuple[str, ...]
    is_answerable: bool
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Given:
    """What the desk replied. `cited` holds ids of documents."""

    text: str
    cited: frozenset[str]
    abstained: bool


def exact_match(text: str, accepted: Collection[str]) -> float:
    """1 when the folded answer equals an accepted one, else 0.

    >>> exact_match("The Eiffel Tower. [1]", ["eiffel tower"])
    1.0
    """
    return float(any(_fold(text) == _fold(answer) for answer in accepted))


def containment(text: str, accepted: Collection[str]) -> float:
    """1 when an accepted answer stands within the folded answer as whole words, else 0.

    >>> containment("They gave up just 308 points. [1]", ["308"])
    1.0
    >>> containment("They gave up just 1308 points.", ["308"])
    0.0
    """
    folded = f" {_fold(text)} "
    return float(any(_fold(answer) and f" {_fold(answer)} " in folded for answer in accepted))


def token_f1(text: str, accepted: Collection[str]) -> float:
    """Harmonic mean of the precision and recall of words, against the accepted answer that fits best.

    >>> token_f1("points: 308", ["308 points", "none"])
    1.0
    """
    return max((_f1(_fold(text).split(), _fold(answer).split()) for answer in accepted), default=0.0)


def measure_answers(pairs: Sequence[tuple[Expected, Given]]) -> dict[str, float | None]:
    """Means over a set; None where a measure has nothing to be taken over.

    Words and citation recall are taken over the answerable questions, where saying nothing counts 0;
    citation precision over the questions that were answered.
    """
    worded = [(e, g) for e, g in pairs if e.is_answerable and e.answers]
    judged = [(e, g) for e, g in pairs if e.is_answerable and e.relevant]
    answered = [(e, g) for e, g in judged if g.cited]
    return {
        "answer_exact_match": _mean(_unless_silent(exact_match, e, g) for e, g in worded),
        "answer_f1": _mean(_unless_silent(token_f1, e, g) for e, g in worded),
        "answer_contains": _mean(_unless_silent(containment, e, g) for e, g in worded),
        "citation_precision": _mean(len(g.cited & e.relevant) / len(g.cited) for e, g in answered),
        "citation_recall": _mean(len(g.cited & e.relevant) / len(e.relevant) for e, g in judged),
        "abstention_precision": _mean(float(not e.is_answerable) for e, g in pairs if g.abstained),
        "abstention_recall": _mean(float(g.abstained) for e, g in pairs if not e.is_answerable),
        "abstained_share": _mean(float(g.abstained) for _, g in pairs),
    }


def _unless_silent(
    measure: Callable[[str, Collection[str]], float], expected: Expected, given: Given
) -> float:
    return 0.0 if given.abstained else measure(given.text, expected.answers)


def _fold(text: str) -> str:
    plain = _MARKER.sub(" ", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", plain).split())


def _f1(given: Sequence[str], accepted: Sequence[str]) -> float:
    if not given or not accepted:
        return float(given == accepted)
    shared = sum((Counter(given) & Counter(accepted)).values())
    return 2 * shared / (len(given) + len(accepted))


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
