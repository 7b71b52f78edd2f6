"""A retrieval set as the real pipeline cuts and embeds it, kept in a file so that rankings are quick to try."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.adapters.onnx_embedder import OnnxEmbedder
from retrieval.corpus import ChunkId
from retrieval.settings import load_settings
from retrieval.wiring import model_folder
from serving.cli.beir import RetrievalSet, read_set
from serving.cli.measuring import ingest
from serving.embedded import open_embedded


@dataclass(frozen=True)
class EmbeddedSet:
    """Chunks and queries of a set.

    Attributes:
        chunks: Indexed text (title, headings, context, text) by row.
        bodies: Text of the chunk alone by row.
        documents: Document id by row.
        languages: Language of the document by row.
        dense: Shape `(n_chunks, dimension)`, float32, unit rows.
        queries: Text by query id, in the order of `query_dense`.
        query_dense: Shape `(n_queries, dimension)`, float32, unit rows.
        judgements: Grade by document id, by query id.
    """

    name: str
    chunks: tuple[str, ...]
    bodies: tuple[str, ...]
    documents: tuple[str, ...]
    languages: tuple[str, ...]
    dense: NDArray[np.float32]
    queries: Mapping[str, str]
    query_dense: NDArray[np.float32]
    judgements: Mapping[str, Mapping[str, int]]


def embedded_set(folder: Path, work: Path) -> EmbeddedSet:
    """Read a set, and its chunks and vectors from `work`, where they are put the first time."""
    read = read_set(folder)
    kept = work / f"{read.name}-{read.digest[:12]}-{load_settings().model}"
    if not kept.with_suffix(".json").exists():
        work.mkdir(parents=True, exist_ok=True)
        _make(read, kept)
    rows = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
    arrays = np.load(kept.with_suffix(".npz"))
    return EmbeddedSet(
        name=read.name,
        chunks=tuple(row["chunk"] for row in rows),
        bodies=tuple(row["body"] for row in rows),
        documents=tuple(row["document"] for row in rows),
        languages=tuple(row["language"] for row in rows),
        dense=arrays["dense"],
        queries={query: read.queries[query] for query in read.judgements},
        query_dense=arrays["queries"],
        judgements=read.judgements,
    )


def _make(read: RetrievalSet, kept: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ranking-") as scratch:
        settings = load_settings(data=Path(scratch) / "state")
        with open_embedded(settings) as embedded:
            ids = ingest(embedded.desk, read, Path(scratch) / "documents", lambda *_: None).ids
            store, corpus = embedded.toolbox.store, embedded.desk.corpus
            chunk_ids = sorted(store.live_chunk_ids())
            indexed = {chunk.chunk_id: chunk.text for chunk in store.live_chunks(chunk_ids)}
            passages = corpus.passages(chunk_ids)
            rows = [
                {
                    "chunk": indexed[chunk_id],
                    "body": passages[chunk_id].text,
                    "document": ids[passages[chunk_id].external_id],
                    "language": passages[chunk_id].language,
                }
                for chunk_id in chunk_ids
            ]
            with embedded.desk.indexes.answering() as opened:
                found: dict[ChunkId, NDArray[np.float32]] = {}
                for start in range(0, len(chunk_ids), 500):
                    found |= opened.index.dense_of(chunk_ids[start : start + 500])
            dense = np.stack([found[chunk_id] for chunk_id in chunk_ids])
        embedder = OnnxEmbedder(model_folder(settings))
        queries = embedder.embed_documents([read.queries[query] for query in read.judgements])
    np.savez(kept.with_suffix(".npz"), dense=dense, queries=queries)
    kept.with_suffix(".json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
