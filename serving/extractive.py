"""`Generator` that quotes: the best-supported sentences and rows of the sources, word for word. Never invents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serving.answer import GenerationRequest, GeneratorInfo, Window
from serving.errors import MalformedGenerationError
from serving.evidence import CELL, header_of

_MAX_QUOTES = 3
_NEAR = 0.12
"""A further quote must score within this of the best one …"""


class ExtractiveGenerator:
    """Implements `serving.ports.Generator` without any model."""

    @property
    def info(self) -> GeneratorInfo:
        """See `Generator.info`."""
        return GeneratorInfo(name="extracts", revision="1", generator="extractive")

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """See `Generator.generate`."""
        chosen = choose_quotes(request.evidence)
        if not chosen:
            raise MalformedGenerationError("there is nothing to quote")
        for window in chosen:
            yield f"{readable(window)} [{window.source.marker}]\n"

    def probe(self, *, timeout_s: float) -> None:
        """See `Generator.probe`; extracts are always there."""


def choose_quotes(evidence: Sequence[Window]) -> list[Window]:
    """The windows to quote: the best one, and others nearly as good that say something else."""
    if not evidence:
        return []
    best, chosen = evidence[0], [evidence[0]]
    for window in evidence[1:]:
        if len(chosen) == _MAX_QUOTES or window.score < best.score - _NEAR:
            break
        if all(window.text != other.text for other in chosen):
            chosen.append(window)
    return chosen


def readable(window: Window) -> str:
    """A window as a sentence: a table row gets its column names, line breaks become spaces."""
    text = " ".join(window.text.split())
    header = " ".join(header_of(window.source.hit.passage).split())
    names, cells = header.split(CELL), text.split(CELL)
    if len(names) == len(cells) > 1 and header != text:
        pairs = zip(names, cells, strict=True)
        text = "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)
    return text
