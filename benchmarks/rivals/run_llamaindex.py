"""LlamaIndex as its own documentation sets it up. Runs in .venv-bench/llamaindex.

- `quick`: the starter tutorial with a local embedding model: `VectorStoreIndex.from_documents`, everything at its
  default, so chunks of 1,024 tokens.
- `dense`: the same with `SentenceSplitter` told the model's own tokenizer and limit, so that nothing is cut off.
- `hybrid`: those chunks in the vector index and in `BM25Retriever`, joined by `QueryFusionRetriever` in the mode
  `reciprocal_rerank` ("Reciprocal Rerank Fusion Retriever" in its documentation), without generated queries.

A title is metadata of its document, which LlamaIndex puts before every chunk that it embeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.rivals.contract import MODEL_TOKENS, Scored, SetDocument, main

_OVERLAP = 20


class LlamaIndex:
    """One configuration."""

    packages = (
        "llama-index-core",
        "llama-index-embeddings-huggingface",
        "llama-index-retrievers-bm25",
        "sentence-transformers",
        "torch",
    )

    def __init__(self, config: str, model: Path) -> None:
        from llama_index.core import Settings
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        Settings.embed_model = HuggingFaceEmbedding(model_name=str(model), device="cpu")
        Settings.llm = None  # else it looks for a key of a hosted model
        self._config = config
        self._model = model
        self._index: Any = None
        self._bm25: Any = None
        self._retriever = lru_cache(self._make_retriever)

    def index(self, documents: Sequence[SetDocument], state: Path) -> None:
        """See `Rival.index`."""
        from llama_index.core import Document, VectorStoreIndex

        given = [
            Document(text=each.text, doc_id=each.id, metadata={"title": each.title} if each.title else {})
            for each in documents
        ]
        if self._config == "quick":
            self._index = VectorStoreIndex.from_documents(given)
        else:
            nodes = self._splitter().get_nodes_from_documents(given)
            self._index = VectorStoreIndex(nodes)
            if self._config == "hybrid":
                from llama_index.retrievers.bm25 import BM25Retriever

                BM25Retriever.from_defaults(nodes=nodes).persist(str(state / "bm25"))
        self._index.storage_context.persist(persist_dir=str(state / "index"))

    def embedded_texts(self) -> Iterable[str]:
        """See `Rival.embedded_texts`."""
        from llama_index.core.schema import MetadataMode

        for node in self._index.docstore.docs.values():
            yield node.get_content(metadata_mode=MetadataMode.EMBED)

    def open(self, state: Path) -> None:
        """See `Rival.open`."""
        from llama_index.core import StorageContext, load_index_from_storage

        self._index = load_index_from_storage(StorageContext.from_defaults(persist_dir=str(state / "index")))
        if self._config == "hybrid":
            from llama_index.retrievers.bm25 import BM25Retriever

            self._bm25 = BM25Retriever.from_persist_dir(str(state / "bm25"))

    def search(self, query: str, n_chunks: int) -> list[Scored]:
        """See `Rival.search`."""
        if self._bm25 is not None:
            self._bm25.similarity_top_k = min(n_chunks, len(self._bm25.corpus))
        return [(hit.node.ref_doc_id, float(hit.score)) for hit in self._retriever(n_chunks).retrieve(query)]

    def _make_retriever(self, n_chunks: int) -> Any:
        dense = self._index.as_retriever(similarity_top_k=n_chunks)
        if self._bm25 is None:
            return dense
        from llama_index.core.retrievers import QueryFusionRetriever

        return QueryFusionRetriever(
            [dense, self._bm25],
            similarity_top_k=n_chunks,
            num_queries=1,
            mode="reciprocal_rerank",
            use_async=False,
        )

    def _splitter(self) -> Any:
        from llama_index.core.node_parser import SentenceSplitter
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._model / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return SentenceSplitter(
            chunk_size=MODEL_TOKENS,
            chunk_overlap=_OVERLAP,
            tokenizer=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        )


if __name__ == "__main__":
    main(LlamaIndex)
