"""txtai as its own documentation sets it up. Runs in .venv-bench/txtai.

- `quick`: `Embeddings(path=…, content=True)` over paragraphs, as `Segmentation(paragraphs=True)` cuts them.
- `hybrid`: `hybrid=True`, its documented switch: BM25 with normalised scores and vectors, added up at equal weight.
- `rrf`: the same with scores left as they are, which txtai then fuses by reciprocal rank.

Both hybrids cut with `Segmentation(chunker="sentence")` to what the model reads, and put the title before every
chunk; in `quick` it begins the first paragraph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rivals.contract import MODEL_TOKENS, Scored, SetDocument, main

_ROOM_FOR_TITLE = 34
_SCORING: dict[str, dict[str, Any]] = {
    "quick": {},
    "hybrid": {"hybrid": True},
    "rrf": {"scoring": {"method": "bm25", "terms": True}},
}


class Txtai:
    """One configuration."""

    packages = ("txtai", "chonkie", "faiss-cpu", "transformers", "torch")

    def __init__(self, config: str, model: Path) -> None:
        from txtai import Embeddings

        self._config = config
        self._model = model
        self._embeddings = Embeddings(path=str(model), content=True, gpu=False, **_SCORING[config])
        self._rows: list[tuple[str, str, str]] = []

    def index(self, documents: Sequence[SetDocument], state: Path) -> None:
        """See `Rival.index`."""
        segment = self._segmentation()
        for document in documents:
            for number, text in enumerate(self._cut(document, segment)):
                self._rows.append((f"{document.id}\t{number}", text, ""))
        self._embeddings.index(self._rows)
        self._embeddings.save(str(state / "embeddings"))

    def embedded_texts(self) -> Iterable[str]:
        """See `Rival.embedded_texts`."""
        return (text for _, text, _ in self._rows)

    def open(self, state: Path) -> None:
        """See `Rival.open`."""
        self._embeddings.load(str(state / "embeddings"))

    def search(self, query: str, n_chunks: int) -> list[Scored]:
        """See `Rival.search`."""
        found = self._embeddings.search(query, n_chunks)
        return [(row["id"].partition("\t")[0], float(row["score"])) for row in found]

    def _cut(self, document: SetDocument, segment: Any) -> Iterator[str]:
        if self._config == "quick":
            yield from segment(f"{document.title}\n{document.text}".strip())
            return
        for text in segment(document.text or document.title):
            yield f"{document.title}\n{text}".strip()

    def _segmentation(self) -> Any:
        from tokenizers import Tokenizer
        from txtai.pipeline import Segmentation

        if self._config == "quick":
            return Segmentation(paragraphs=True)
        tokenizer = Tokenizer.from_file(str(self._model / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return Segmentation(
            chunker="sentence", tokenizer=tokenizer, chunk_size=MODEL_TOKENS - _ROOM_FOR_TITLE
        )


if __name__ == "__main__":
    main(Txtai)
