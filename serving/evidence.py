"""How well passages answer a question: the sentences that come nearest, and whether they come near enough.

A window is one sentence, list item or table row of a source. It is judged by things that fail in different
ways: the question's words that occur in it or in the headings above it (weighted by how rarely they occur
among the sources), the cosine between its embedding and the question's, and how high its passage ranked.
The weights below were fitted on public questions, not on the sample's (docs/answers.md has method and
figures). Pure, apart from the functions handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.corpus import Passage
from retrieval.sentences import sentence_spans
from serving.answer import Context, Source, Window

Terms = Callable[[str], frozenset[int]]
"""The distinct stemmed terms of a text, stop words left out."""

EmbedTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> unit vectors, shape `(len(texts), dimension)`."""

CELL = " | "
"""What stands between the cells of a table row."""

_MAX_EMBEDDED = 24
_WINDOWS_PER_SOURCE = 3
_MIN_CHARS = 12


@dataclass(frozen=True, slots=True)
class EvidenceWeights:
    """What counts how much when windows are ranked, and how much is enough to answer."""

    words: float = 1.0
    meaning: float = 1.0
    rank: float = 0.5


def word_weights(question: frozenset[int], sources: Sequence[frozenset[int]]) -> dict[int, float]:
    """Weight of each question term: the rarer among the sources, the more it tells (BM25's IDF)."""
    count = len(sources)
    frequency = {term: sum(term in source for source in sources) for term in question}
    return {term: math.log(1 + (count - df + 0.5) / (df + 0.5)) for term, df in frequency.items()}


def coverage(weights: Mapping[int, float], found: frozenset[int]) -> float:
    """Share of the weight that lies on terms which were found; 1 when there is nothing to find."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in found) / total if total else 1.0


def judge_windows(
    question: str, context: Context, *, terms: Terms, embed: EmbedTexts, weights: EvidenceWeights
) -> tuple[Window, ...]:
    """The windows of a context, best first; ties in order of marker and position.

    Only the most promising windows by words are embedded, at least some of every source: embedding is what
    costs.
    """
    if not context.sources:
        return ()
    asked = word_weights(terms(question), [terms(f"{_surroundings(s)}\n{s.text}") for s in context.sources])
    promising = _promising(context, asked, terms)
    vectors = embed([question, *(f"{_surroundings(w.source)}\n{w.text}" for w in promising)])
    cosines = vectors[1:] @ vectors[0]
    judged = [_scored(w, float(cosine), weights) for w, cosine in zip(promising, cosines, strict=True)]
    return tuple(sorted(judged, key=lambda w: (-w.score, w.source.marker, w.start)))


def windows_of(passage: Passage) -> list[tuple[int, int]]:
    """Spans of a passage's sentences, or of a table's rows without its header row.

    Very short sentences are joined to the one after.
    """
    text = passage.text
    if is_table(passage):
        lines = _lines(text)
        return lines if passage.context or len(lines) == 1 else lines[1:]
    spans: list[tuple[int, int]] = []
    pending: int | None = None
    for start, end in sentence_spans(text):
        begin = start if pending is None else pending
        if end - begin < _MIN_CHARS:
            pending = begin
            continue
        spans.append((begin, end))
        pending = None
    if pending is not None:
        begin = spans.pop()[0] if spans else pending
        spans.append((begin, len(text.rstrip())))
    return spans


def is_table(passage: Passage) -> bool:
    """Whether a passage consists of table rows (`ingest.document.Block`: cells joined by " | ")."""
    return bool(passage.context) or CELL in passage.text.split("\n", 1)[0]


def header_of(passage: Passage) -> str:
    """The header row of a table passage, empty for every other kind."""
    if not is_table(passage):
        return ""
    return passage.context or passage.text.split("\n", 1)[0]


def _lines(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            spans.append((start, start + len(line.rstrip())))
        start += len(line)
    return spans


def _promising(context: Context, asked: Mapping[int, float], terms: Terms) -> list[Window]:
    best = max(source.hit.score for source in context.sources)
    worst = min(source.hit.score for source in context.sources)
    chosen: list[Window] = []
    rest: list[Window] = []
    for source in context.sources:
        around = terms(_surroundings(source))
        share = (source.hit.score - worst) / (best - worst) if best > worst else 1.0
        windows = [
            Window(source, start, end, coverage(asked, around | terms(source.text[start:end])), 0, share, 0)
            for start, end in windows_of(source.hit.passage)
        ]
        windows.sort(key=lambda w: -w.words)
        chosen += windows[:_WINDOWS_PER_SOURCE]
        rest += windows[_WINDOWS_PER_SOURCE:]
    rest.sort(key=lambda w: (-w.words, w.source.marker))
    return (chosen + rest)[:_MAX_EMBEDDED]


def _scored(window: Window, meaning: float, weights: EvidenceWeights) -> Window:
    score = weights.words * window.words + weights.meaning * meaning + weights.rank * window.rank_share
    return replace(window, meaning=meaning, score=score)


def _surroundings(source: Source) -> str:
    passage = source.hit.passage
    parts = dict.fromkeys((passage.title, *passage.heading_path, passage.context))
    return " ".join(part for part in parts if part)
