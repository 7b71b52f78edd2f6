"""Text with markers -> checked sentences and citations. Pure.

A marker that points at nothing is removed. A cited sentence is compared with the text it points to; without
enough support there, the best supporting source is cited instead, and a sentence that no source supports is
dropped. Numbers are held to more than words: each one in a cited sentence must occur in the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from retrieval.sentences import sentence_spans
from serving.answer import Citation, Context, Source
from serving.evidence import Terms, windows_of

MIN_SUPPORT = 0.5
"""Share of a sentence's terms that the cited source must bear out."""

_MARKER = re.compile(r"\[(\d{1,3})\]")
_OTHER_NOTATIONS = (
    (re.compile(r"【(\d{1,3})[^】]{0,40}】"), r"[\1]"),  # gpt-oss's browsing notation
    (re.compile(r"\[(\d{1,3}), ?(?=\d)"), r"[\1]["),  # [1, 2]
)
_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ADDRESS = re.compile(r"\b(?:https?|ftp|file|data|javascript):\S*[^\s.,;)\]]", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_MARKERS_AHEAD = re.compile(r"(?:\[\d{1,3}\]\s*)*")
_UNFINISHED_MARKER = re.compile(r"\[\d{0,3}|【[^】]{0,45}")


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """A sentence that may be shown, with markers only where they are borne out.

    Attributes:
        text: As it is shown, markers included.
        citations: One per marker, in order.
    """

    text: str
    citations: tuple[Citation, ...]


def check_sentence(sentence: str, context: Context, terms: Terms) -> CheckedSentence | None:
    """The sentence with its citations checked, or None when no source supports it.

    A sentence that claims nothing (no terms of its own) passes without citations.
    """
    claimed = _claim(sentence)
    wanted = terms(claimed)
    if not wanted:
        return CheckedSentence(claimed, ()) if claimed else None
    named = [context.source(int(number)) for number in dict.fromkeys(_MARKER.findall(sentence))]
    cited = [_cite(source, claimed, wanted, terms) for source in named if source is not None]
    borne_out = [citation for citation in cited if citation.support >= MIN_SUPPORT]
    if not borne_out:
        others = (_cite(source, claimed, wanted, terms) for source in context.sources)
        best = max(others, key=lambda citation: citation.support, default=None)
        if best is None or best.support < MIN_SUPPORT:
            return None
        borne_out = [best]
    markers = "".join(f"[{citation.marker}]" for citation in borne_out)
    return CheckedSentence(f"{claimed} {markers}", tuple(borne_out))


def sentences_of(pieces: Iterable[str]) -> Iterator[str]:
    """Whole sentences out of streamed pieces; markers after a full stop belong to the sentence before."""
    buffer = ""
    for piece in pieces:
        buffer = normalise_markers(buffer + piece)
        *complete, buffer = _split(buffer)
        yield from complete
    yield from (sentence for sentence in _split(buffer) if sentence.strip())


def normalise_markers(text: str) -> str:
    """Other ways of writing markers, as `[n]`."""
    for pattern, replacement in _OTHER_NOTATIONS:
        text = pattern.sub(replacement, text)
    return text


def inert(text: str) -> str:
    """Text without images, links or addresses: answers carry none but the desk's own citations."""
    return _ADDRESS.sub("(link removed)", _LINK.sub(r"\1", _IMAGE.sub(r"\1", text)))


def support(claimed: str, wanted: frozenset[int], source: Source, terms: Terms) -> float:
    """Share of a claim's terms that occur in a source, 0 when a number of the claim does not."""
    passage = source.hit.passage
    whole = "\n".join((passage.title, *passage.heading_path, passage.context, passage.text))
    numbers = set(_NUMBER.findall(claimed))
    if not numbers <= set(_NUMBER.findall(whole)):
        return 0.0
    return len(wanted & terms(whole)) / len(wanted)


def _claim(sentence: str) -> str:
    """A sentence without markers and links, white space folded."""
    return re.sub(r"\s+([.,;:!?])", r"\1", " ".join(inert(_MARKER.sub(" ", sentence)).split()))


def _cite(source: Source, claimed: str, wanted: frozenset[int], terms: Terms) -> Citation:
    start, end = _best_window(source, wanted, terms)
    return Citation(
        marker=source.marker,
        hit=source.hit,
        quote=source.text[start:end],
        start=source.hit.passage.start + start,
        end=source.hit.passage.start + end,
        support=round(support(claimed, wanted, source, terms), 3),
    )


def _best_window(source: Source, wanted: frozenset[int], terms: Terms) -> tuple[int, int]:
    windows = windows_of(source.hit.passage) or [(0, len(source.text))]
    return max(windows, key=lambda span: (len(wanted & terms(source.text[slice(*span)])), -span[0]))


def _split(text: str) -> list[str]:
    """Sentences with the white space and markers after them; the last one may be unfinished."""
    cuts = [0]
    for start, _ in sentence_spans(text)[1:]:
        begin = _MARKERS_AHEAD.match(text, start).end()  # type: ignore[union-attr]  # matches the empty string
        if begin < len(text) and not _UNFINISHED_MARKER.fullmatch(text, begin):
            cuts.append(begin)
    return [text[a:b] for a, b in pairwise([*cuts, len(text)])]
