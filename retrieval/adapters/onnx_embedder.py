"""`Embedder` on ONNX Runtime: the exported all-MiniLM-L6-v2, without torch in the running process.

The exported graph contains mean pooling and normalisation (`minilm_export.py`). One text and one inference thread
per call: with N worker threads N passages are embedded at a time, which uses the cores better than splitting one
passage over them, and a question never waits for a pool of threads. A passage of 200 tokens fills a core by
itself, so batches gain nothing and cost padding and memory; and since the int8 graph scales each layer's input by
its largest value, a vector would depend on its neighbours in the batch (docs/decisions/0004-embedding-on-cpu.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from retrieval.errors import EmbedderUnavailableError
from retrieval.ports import Embedding


class OnnxEmbedder:
    """Implements `retrieval.ports.Embedder`. Safe to share between threads."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load `model.onnx`, `tokenizer.json` and `model.json` from a folder.

        Args:
            folder: What `minilm_export.export` wrote.
            threads: Inference threads per call.

        Raises:
            EmbedderUnavailableError: The folder lacks a file or holds a damaged one.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for ever
        options.log_severity_level = 3
        try:
            facts = json.loads((folder / "model.json").read_text())
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._session = ort.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime and tokenizers raise plain Exception for a damaged file
            raise EmbedderUnavailableError(f"the embedding model cannot be loaded: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=facts["max_tokens"])
        self._fingerprint: str = facts["fingerprint"]
        self._dimension: int = facts["dimension"]

    @property
    def fingerprint(self) -> str:
        """See `Embedder.fingerprint`."""
        return self._fingerprint

    @property
    def languages(self) -> frozenset[str]:
        """See `Embedder.languages`; all-MiniLM-L6-v2 was trained on English (its model card)."""
        return frozenset({"en"})

    @property
    def dimension(self) -> int:
        """See `Embedder.dimension`."""
        return self._dimension

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_documents`."""
        vectors = np.empty((len(texts), self._dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self.embed_query(text)
        return vectors

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Embedder.embed_texts`."""
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> Embedding:
        """See `Embedder.embed_query`."""
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        try:
            output = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        except Exception as error:  # onnxruntime's errors have no common base class
            raise EmbedderUnavailableError(f"the embedding model failed: {error}") from error
        vector: Embedding = np.asarray(output[0][0], np.float32)
        return vector
