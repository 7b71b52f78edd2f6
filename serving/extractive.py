"""`Generator` that quotes the best-supported sentences and rows, word for word. Never invents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from serving.answer import GenerationRequest, GeneratorInfo, Window
from serving.errors import MalformedGenerationError
from serving.evidence import CELL, header_of, is_table, windows_of

_MAX_QUOTES = 3
_NEAR = 0.1
"""Further quotes must score within this of the best one, and be of the same document."""

_MAX_ITEMS = 6
"""Items quoted after a sentence that announces a list."""


class ExtractiveGenerator:
    """Implements `serving.ports.Generator` without any model."""

    @property
    def info(self) -> GeneratorInfo:
        """See `Generator.info`."""
        return GeneratorInfo(name="extracts", revision="1", generator="extractive")

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """See `Generator.generate`."""
        chosen = choose_quotes(request.evidence)
        markers = [request.context.marker_of(window.hit) for window in chosen]
        if not any(markers):
            raise MalformedGenerationError("there is nothing to quote")
        for window, marker in zip(chosen, markers, strict=True):
            if marker is not None:
                yield from (f"{readable(part)} [{marker}]\n" for part in with_announced(window))

    def probe(self, *, timeout_s: float) -> None:
        """See `Generator.probe`; extracts are always there."""


def with_announced(window: Window) -> list[Window]:
    """The window, and what it announces: "You need:" says nothing without the lines that follow it."""
    passage = window.hit.passage
    if is_table(passage) or not window.text.rstrip().endswith((":", "：")):
        return [window]
    following = [span for span in windows_of(passage) if span[0] >= window.end][:_MAX_ITEMS]
    return [window, *(replace(window, start=start, end=end) for start, end in following)]


def choose_quotes(evidence: Sequence[Window]) -> list[Window]:
    """The best window, and others of the same document that are nearly as good and say something else."""
    chosen: list[Window] = []
    for window in evidence:
        best = chosen[0] if chosen else window
        near = window.score >= best.score - _NEAR
        if not near or len(chosen) == _MAX_QUOTES:
            break
        same_document = window.hit.passage.document_id == best.hit.passage.document_id
        if same_document and all(window.text != other.text for other in chosen):
            chosen.append(window)
    return chosen


def readable(window: Window) -> str:
    """A window as a sentence: a table row gets its column names, line breaks become spaces."""
    text = " ".join(window.text.split())
    header = " ".join(header_of(window.hit.passage).split())
    names, cells = header.split(CELL), text.split(CELL)
    if len(names) == len(cells) > 1 and header != text:
        pairs = zip(names, cells, strict=True)
        text = "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)
    return text
