"""Loads sentence-transformers models from folders, offline, and names them by what they hold.

torch is imported when a model is loaded, not before: a desk without such a model never pays for it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import ModuleType

LOADING: dict[str, object] = {
    "device": "cpu",  # a model that wants a GPU belongs behind a server
    "local_files_only": True,
    "trust_remote_code": False,
    "model_kwargs": {"dtype": "float32"},  # transformers would take the file's own: bfloat16 crawls on a CPU
}
"""How every model is loaded."""

_READ = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})
"""What makes a vector: weights, configuration with prompts, vocabulary. Not a word of README.md."""


def sentence_transformers() -> ModuleType:
    """The library, told not to look for anything on a network.

    Raises:
        ImportError: It is not installed here, as in the query service of a split desk.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    import sentence_transformers as library

    loaded: ModuleType = library
    return loaded


def folder_fingerprint(folder: Path, *facts: str) -> str:
    """The folder's name with a digest of its files' contents and of whatever else decides about the output.

    Raises:
        OSError: The folder cannot be read.
    """
    digest = hashlib.sha256("\x1f".join(facts).encode())
    for file in sorted(path for path in folder.rglob("*") if path.suffix in _READ):
        with file.open("rb") as content:
            inner = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"\x1e{file.relative_to(folder).as_posix()}\x1f{inner}".encode())
    return f"{folder.name.replace('|', '-')}@{digest.hexdigest()[:12]}/sentence-transformers"
