"""Haystack as its own documentation sets it up. Runs in .venv-bench/haystack.

- `quick`: `DocumentSplitter()` with its defaults (200 words), sentence-transformers embedder, in-memory store,
  embedding retriever.
- `hybrid`: tutorial "Creating a Hybrid Retrieval Pipeline": BM25 and embedding retriever joined by
  `DocumentJoiner` in the mode `reciprocal_rank_fusion`; chunks of 150 words with 20 of overlap, which the model
  reads whole with few exceptions, and the title embedded with every chunk (`meta_fields_to_embed`).

The text of a document begins with its title.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rivals.contract import Scored, SetDocument, main


class Haystack:
    """One configuration."""

    packages = ("haystack-ai", "sentence-transformers-haystack", "sentence-transformers", "torch")

    def __init__(self, config: str, model: Path) -> None:
        from haystack.document_stores.in_memory import InMemoryDocumentStore
        from haystack_integrations.components.embedders.sentence_transformers import (
            SentenceTransformersDocumentEmbedder,
            SentenceTransformersTextEmbedder,
        )

        self._config = config
        self._fields = ["title"] if config == "hybrid" else []
        self._store: Any = InMemoryDocumentStore()
        self._for_documents = SentenceTransformersDocumentEmbedder(
            model=str(model), progress_bar=False, meta_fields_to_embed=self._fields
        )
        self._for_queries = SentenceTransformersTextEmbedder(model=str(model), progress_bar=False)
        self._pipeline: Any = None

    def index(self, documents: Sequence[SetDocument], state: Path) -> None:
        """See `Rival.index`."""
        from haystack import Document, Pipeline
        from haystack.components.preprocessors import DocumentSplitter
        from haystack.components.writers import DocumentWriter

        is_quick = self._config == "quick"
        splitter = DocumentSplitter() if is_quick else DocumentSplitter(split_length=150, split_overlap=20)
        pipeline = Pipeline()
        pipeline.add_component("splitter", splitter)
        pipeline.add_component("embedder", self._for_documents)
        pipeline.add_component("writer", DocumentWriter(self._store))
        pipeline.connect("splitter", "embedder")
        pipeline.connect("embedder", "writer")
        given = [
            Document(
                content=f"{each.title}\n\n{each.text}".strip(),
                meta={"document": each.id, "title": each.title},
            )
            for each in documents
        ]
        pipeline.run({"splitter": {"documents": given}})
        self._store.save_to_disk(str(state / "store.json"))

    def embedded_texts(self) -> Iterable[str]:
        """See `Rival.embedded_texts`."""
        for document in self._store.filter_documents():
            fields = [document.meta[name] for name in self._fields if document.meta[name]]
            yield "\n".join((*fields, document.content))

    def open(self, state: Path) -> None:
        """See `Rival.open`."""
        from haystack import Pipeline
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
        from haystack.document_stores.in_memory import InMemoryDocumentStore

        self._store = InMemoryDocumentStore.load_from_disk(str(state / "store.json"))
        pipeline = Pipeline()
        pipeline.add_component("embedder", self._for_queries)
        pipeline.add_component("dense", InMemoryEmbeddingRetriever(document_store=self._store))
        pipeline.connect("embedder.embedding", "dense.query_embedding")
        if self._config == "hybrid":
            pipeline.add_component("sparse", InMemoryBM25Retriever(document_store=self._store))
            pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
            pipeline.connect("dense", "joiner")
            pipeline.connect("sparse", "joiner")
        self._pipeline = pipeline

    def search(self, query: str, n_chunks: int) -> list[Scored]:
        """See `Rival.search`."""
        given: dict[str, dict[str, Any]] = {"embedder": {"text": query}, "dense": {"top_k": n_chunks}}
        if self._config == "hybrid":
            given |= {"sparse": {"query": query, "top_k": n_chunks}, "joiner": {"top_k": n_chunks}}
        found = self._pipeline.run(given)["joiner" if self._config == "hybrid" else "dense"]["documents"]
        return [(document.meta["document"], float(document.score)) for document in found]


if __name__ == "__main__":
    main(Haystack)
