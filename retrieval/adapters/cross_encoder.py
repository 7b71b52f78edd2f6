"""`Reranker` on a sentence-transformers cross-encoder: question and passage go through one model together.

Costs a pass of the model for every passage: with a model of six layers some 10 to 15 passages a second and
core, so 50 passages take seconds on a small machine. docs/models.md says when that is worth it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.adapters.model_folders import folder_fingerprint, load_model
from retrieval.errors import RerankerUnavailableError

_BATCH = 8
"""Passages between two looks at the clock."""


class CrossEncoderReranker:
    """Implements `retrieval.ports.Reranker`. Safe to share between threads, which take turns."""

    def __init__(self, folder: Path, *, time_s: float) -> None:
        """Load a model that gives one score for a pair of texts.

        Args:
            folder: As `CrossEncoder.save` writes it.
            time_s: Longest time for one call, waiting for other threads included; seconds.

        Raises:
            RerankerUnavailableError: The library is not installed, or the folder holds no such model.
        """
        self._taking_turns = threading.Lock()
        self._time_s = time_s
        try:
            self._fingerprint = folder_fingerprint(folder)
            self._model = load_model("CrossEncoder", folder)
        except Exception as error:  # see load_model
            raise RerankerUnavailableError(f"the reranking model cannot be loaded: {error}") from error
        if self._model.num_labels != 1:
            raise RerankerUnavailableError(
                f"the reranking model gives {self._model.num_labels} scores for a pair, not one"
            )

    @property
    def fingerprint(self) -> str:
        """See `Reranker.fingerprint`."""
        return self._fingerprint

    def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """See `Reranker.score`."""
        due = time.monotonic() + self._time_s
        scores: list[float] = []
        for start in range(0, len(passages), _BATCH):
            scores += self._scored(question, passages[start : start + _BATCH], due)
        if not np.isfinite(scores).all():
            raise RerankerUnavailableError("the reranking model gave a score that is not finite")
        return scores

    def _scored(self, question: str, passages: Sequence[str], due: float) -> list[float]:
        left_s = due - time.monotonic()
        if left_s <= 0 or not self._taking_turns.acquire(timeout=left_s):
            raise RerankerUnavailableError(f"reranking took longer than {self._time_s:g} s")
        try:
            output = self._model.predict(
                [(question, passage) for passage in passages], show_progress_bar=False
            )
        except Exception as error:  # torch's errors have no common base class
            raise RerankerUnavailableError(f"the reranking model failed: {type(error).__name__}") from error
        finally:
            self._taking_turns.release()
        return [float(score) for score in output]
