"""A rival that counts shared words, for running the benchmark's machinery without any library."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.rivals.contract import Scored, SetDocument, main

_SEEN_S = 0.8
"""Memory is looked at four times a second: a process that ends sooner may not be seen at all."""


class WordRival:
    """One chunk a line. The configuration `broken` fails to index, `slow` sleeps."""

    packages = ("numpy",)

    def __init__(self, config: str, model: Path) -> None:
        self._config = config
        self._chunks: list[tuple[str, str]] = []

    def index(self, documents: Sequence[SetDocument], state: Path) -> None:
        """See `Rival.index`."""
        if self._config == "broken":
            raise ValueError(f"nothing goes into {state}")
        time.sleep(60 if self._config == "slow" else _SEEN_S)
        self._chunks = [
            (each.id, line) for each in documents for line in (each.title, *each.text.splitlines())
        ]
        (state / "chunks.json").write_text(json.dumps(self._chunks))

    def embedded_texts(self) -> Iterable[str]:
        """See `Rival.embedded_texts`."""
        return (text for _, text in self._chunks)

    def open(self, state: Path) -> None:
        """See `Rival.open`."""
        self._chunks = json.loads((state / "chunks.json").read_text())

    def search(self, query: str, n_chunks: int) -> list[Scored]:
        """See `Rival.search`."""
        words = set(query.lower().split())
        scored = [(name, float(len(words & set(text.lower().split())))) for name, text in self._chunks]
        return sorted(scored, key=lambda each: -each[1])[:n_chunks]


if __name__ == "__main__":
    main(WordRival)
