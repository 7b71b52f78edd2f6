"""A generator that says what it is told to, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from serving.answer import GenerationRequest, GeneratorInfo


class ScriptedGenerator:
    """Implements `serving.ports.Generator`. Keeps the requests it got."""

    def __init__(
        self,
        pieces: Sequence[str],
        error: Exception | None = None,
        *,
        between: Callable[[], None] = lambda: None,
        usage: Mapping[str, int] | None = None,
    ) -> None:
        """Yield `pieces`, tell `usage`, raise `error` if there is one; `between` runs after the first piece."""
        self._pieces = pieces
        self._error = error
        self._between = between
        self._usage = usage
        self.requests: list[GenerationRequest] = []

    @property
    def info(self) -> GeneratorInfo:
        """A model by the name `scripted`."""
        return GeneratorInfo("scripted", "1", "vllm")

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """See `Generator.generate`."""
        self.requests.append(request)
        for number, piece in enumerate(self._pieces):
            yield piece
            if number == 0:
                self._between()
        if self._usage is not None and request.on_usage is not None:
            request.on_usage(self._usage)
        if self._error is not None:
            raise self._error

    def probe(self, *, timeout_s: float) -> None:
        """See `Generator.probe`."""
        if self._error is not None:
            raise self._error
