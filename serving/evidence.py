"""How well passages answer a question: the sentences and table rows that come nearest.

Passages are judged by their best window (one sentence, list item or table row), because a passage is about
many things and an answer is one of them. A window is judged by two signals that fail in different ways, each
for the window and for its whole passage: the cosine between embeddings, and the share of the question's words
that occur, weighted by how rarely they occur among the hits. docs/answers.md has method and figures. Pure,
apart from the functions handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from retrieval.corpus import Passage, indexed_text
from retrieval.sentences import sentence_spans
from serving.answer import Promptable, Window

Terms = Callable[[str], frozenset[int]]
"""The distinct stemmed terms of a text, stop words left out."""

EmbedTexts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> unit vectors, shape `(len(texts), dimension)`."""

CELL = " | "
"""What stands between the cells of a table row."""

_MAX_JUDGED = 20
_MAX_EMBEDDED = 48
_WINDOWS_PER_PASSAGE = 2
_MIN_CHARS = 12


def judge(
    question: str,
    vector: NDArray[np.float32],
    hits: Sequence[Promptable],
    *,
    terms: Terms,
    embed: EmbedTexts,
) -> tuple[Window, ...]:
    """The windows of the best 20 hits, best first; ties in order of rank and position.

    Args:
        question: What was asked.
        vector: Its embedding, shape `(dimension,)`.
        hits: Passages, best first; also those not judged help to tell rare words from common ones.
        terms: Terms of a text.
        embed: Embeds passage texts; one that remembers makes repeated questions cheap.

    Only windows that are promising by their words are embedded, the best two of each passage at least:
    embedding is what costs.
    """
    asked = word_weights(terms(question), [terms(_whole(hit.passage)) for hit in hits])
    promising = _promising(hits[:_MAX_JUDGED], asked, terms)
    if not promising:
        return ()
    judged_hits = {window.hit.passage.chunk_id: window.hit for window in promising}
    passages = embed([_whole(hit.passage) for hit in judged_hits.values()]) @ vector
    passage_meaning = dict(zip(judged_hits, passages, strict=True))
    meanings = embed([f"{_surroundings(w.hit.passage)}\n{w.text}" for w in promising]) @ vector
    judged = [
        replace(w, meaning=float(m), passage_meaning=float(passage_meaning[w.hit.passage.chunk_id]))
        for w, m in zip(promising, meanings, strict=True)
    ]
    return tuple(sorted(judged, key=lambda window: -window.score))


def by_best_window(hits: Sequence[Promptable], windows: Sequence[Window]) -> list[Promptable]:
    """The hits in order of their best window; those without a judged one follow in their own order."""
    judged = {window.hit.passage.chunk_id: window.hit for window in windows}
    rest = (hit for hit in hits if hit.passage.chunk_id not in judged)
    return [*judged.values(), *rest]


def word_weights(question: frozenset[int], passages: Sequence[frozenset[int]]) -> dict[int, float]:
    """Weight of each question term: the rarer among the passages, the more it tells (BM25's IDF)."""
    count = len(passages)
    frequency = {term: sum(term in passage for passage in passages) for term in question}
    return {term: math.log(1 + (count - df + 0.5) / (df + 0.5)) for term, df in frequency.items()}


def coverage(weights: Mapping[int, float], found: frozenset[int]) -> float:
    """Share of the weight that lies on terms which were found; 1 when there is nothing to find."""
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in found) / total if total else 1.0


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


def _promising(hits: Sequence[Promptable], asked: Mapping[int, float], terms: Terms) -> list[Window]:
    chosen: list[Window] = []
    rest: list[Window] = []
    for hit in hits:
        text, around = hit.passage.text, terms(_surroundings(hit.passage))
        whole = coverage(asked, around | terms(text))
        windows = [
            Window(hit, start, end, coverage(asked, around | terms(text[start:end])), whole)
            for start, end in windows_of(hit.passage)
        ]
        windows.sort(key=lambda window: -window.words)
        chosen += windows[:_WINDOWS_PER_PASSAGE]
        rest += windows[_WINDOWS_PER_PASSAGE:]
    rest.sort(key=lambda window: -(window.words + window.passage_words))
    return chosen + rest[: _MAX_EMBEDDED - len(chosen)]


def _whole(passage: Passage) -> str:
    return indexed_text(passage.title, passage.heading_path, passage.context, passage.text)


def _surroundings(passage: Passage) -> str:
    return indexed_text(passage.title, passage.heading_path, header_of(passage), "")


def _lines(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            spans.append((start, start + len(line.rstrip())))
        start += len(line)
    return spans
