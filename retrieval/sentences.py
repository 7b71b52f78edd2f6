"""Where sentences begin and end, in any language that marks their ends. Pure; reads nothing but the text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_MAX_CHARS = 1000
"""No sentence is longer: text without any stop is cut at white space, or at this length."""

_END = re.compile(
    r"""
    (?<!\b[A-Z])[.!?…]+["'”’»)\]]*(?=\s)               # a stop, closing marks, then white space; not "J. Doe"
    | [。！？．]+["”’」』）]*                             # scripts that put no space after a stop
    | \n+                                              # a line end: lists, tables, poetry
    """,
    re.VERBOSE,
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Spans `[start, end)` of the sentences, in order, without white space around them."""
    spans: list[tuple[int, int]] = []
    start = 0
    for end in (*_ends(text), len(text)):
        spans.extend(_cut(text, start, end))
        start = end
    return spans


def sentence_pieces(text: str) -> list[str]:
    """The text cut after each sentence; joined, the pieces are the text, white space included."""
    ends = [end for _, end in sentence_spans(text)]
    cuts = [0, *ends[:-1], len(text)] if ends else [0, len(text)]
    return [text[start:end] for start, end in itertools.pairwise(cuts) if end > start]


def _ends(text: str) -> Iterator[int]:
    for match in _END.finditer(text):
        following = text[match.end() : match.end() + 2].lstrip(" ")
        # "ext. 2200", "e.g. this": after an abbreviation goes on what does not begin like a sentence.
        if match.group().startswith(".") and (following[:1].islower() or following[:1].isdigit()):
            continue
        yield match.end()


def _cut(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    while True:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start >= end:
            return spans
        if end - start <= _MAX_CHARS:
            return [*spans, (start, end)]
        space = text.rfind(" ", start + _MAX_CHARS // 2, start + _MAX_CHARS)
        stop = space if space > start else start + _MAX_CHARS
        spans.append((start, stop))
        start = stop
