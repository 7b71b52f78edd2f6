"""Values that ingestion runs by. Light: importing this loads neither a parser nor LlamaIndex."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ChunkingSettings:
    """How documents are cut.

    Attributes:
        tokenizer_path: The embedder's `tokenizer.json`; budgets are counted in its wordpieces.
        max_tokens: Most wordpieces of a chunk's own text.
    """

    tokenizer_path: Path
    max_tokens: int = 220

    @property
    def fingerprint(self) -> str:
        """Changes whenever other chunks would be cut."""
        return f"sentences-{self.max_tokens}-v1"
