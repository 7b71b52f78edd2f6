"""What answering needs from the outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from serving.answer import GenerationRequest, GeneratorInfo


class Generator(Protocol):
    """Writes an answer to a question from numbered sources."""

    @property
    def info(self) -> GeneratorInfo:
        """Name and revision, for answers and the audit record."""
        ...

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """Yield the answer's text piece by piece; joined, the pieces are the whole answer.

        Citations are written as `[n]`, n being a source's marker. An empty text never occurs: a generation
        without text is an error. Closing the iterator early stops the generation on the server too.

        Raises:
            GeneratorError: One of its subclasses, possibly after some text was yielded; what was yielded
                is then not to be trusted as complete.
        """
        ...

    def probe(self, *, timeout_s: float) -> None:
        """Return once a real token came back; health means that, not an open port.

        Raises:
            GeneratorError: No token came back in time.
        """
        ...
