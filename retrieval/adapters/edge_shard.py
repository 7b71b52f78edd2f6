"""How a shard of Qdrant Edge is laid out: its vectors, its field indexes, and how its segments are optimised."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import qdrant_edge as edge

from retrieval.adapters.qdrant_points import DENSE, INTEGER_FIELDS, KEYWORD_FIELDS, PREFIX_FIELD, SPARSE

Quantization = Literal["none", "int8", "binary"]

_LINKS = 16
_LINK_CANDIDATES = 100
_EXACT_BELOW_KB = 10_000
_INDEX_ABOVE_KB = 1


def create_shard(folder: Path, dimension: int) -> Any:
    """A new shard in a folder that is made for it."""
    folder.mkdir(parents=True)
    shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(**_vectors(dimension)))
    schemas: dict[str, Any] = {PREFIX_FIELD: edge.KeywordIndexParams(prefix=True)}
    schemas |= dict.fromkeys(KEYWORD_FIELDS, edge.PayloadSchemaType.Keyword)
    schemas |= dict.fromkeys(INTEGER_FIELDS, edge.PayloadSchemaType.Integer)
    for name, schema in schemas.items():  # before the first point: filters are cheap from the start
        shard.update(edge.UpdateOperation.create_field_index(name, schema))
    return shard


def load_shard(folder: Path) -> Any:
    """The shard in a folder, as it was laid out."""
    return edge.EdgeShard.load(str(folder))


def load_to_optimise(folder: Path, dimension: int, quantization: Quantization) -> Any:
    """The shard in a folder, to be optimised: one segment with a graph of neighbours, and compressed vectors.

    The graph takes filters into account; whoever may read less than about 10,000 kB of vectors is answered
    exactly (https://qdrant.tech/documentation/concepts/indexing/#filterable-hnsw-index).
    """
    return edge.EdgeShard.load(
        str(folder),
        edge.EdgeConfig(
            **_vectors(dimension),
            hnsw_config=edge.HnswIndexConfig(
                _LINKS, _LINK_CANDIDATES, _EXACT_BELOW_KB, max_indexing_threads=1
            ),
            quantization_config=_quantization(quantization),
            optimizers=edge.EdgeOptimizersConfig(
                indexing_threshold=_INDEX_ABOVE_KB, default_segment_number=1
            ),
        ),
    )


def _vectors(dimension: int) -> dict[str, Any]:
    return {
        "vectors": {DENSE: edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Dot)},
        "sparse_vectors": {SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
    }


def _quantization(kind: Quantization) -> Any:
    if kind == "int8":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Pinned)
    if kind == "binary":
        return edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned)
    return None
