"""Loads sentence-transformers models from folders, offline, and names them by what they hold.

torch is imported when a model is loaded, not before: a desk without such a model never pays for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Kind = Literal["SentenceTransformer", "CrossEncoder"]

_MARKS: Mapping[Kind, str] = {"SentenceTransformer": "modules.json", "CrossEncoder": "config.json"}
"""File that every model of a kind has; without it the library would look for a model of that name elsewhere."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads made everything ten times slower on a busy machine
}
"""Has to be set before torch and its relatives are imported."""

_READ = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})
"""What makes a vector: weights, configuration with prompts, vocabulary. Not a word of README.md."""


def load_model(kind: Kind, folder: Path) -> Any:
    """A model of the library, on the CPU, in full precision, without its own code and without a network.

    Raises:
        ImportError: The library is not installed here, as in the query service of a split desk.
        Exception: The folder holds no such model; the libraries raise whatever they like for a damaged one.
    """
    if not (folder / _MARKS[kind]).is_file():
        raise FileNotFoundError(f"{folder} holds no {kind}")
    os.environ |= ENVIRONMENT
    import sentence_transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    return getattr(sentence_transformers, kind)(
        str(folder),
        device="cpu",  # a model that wants a GPU belongs behind a server
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": "float32"},  # else the file's own, and bfloat16 crawls on most CPUs
    )


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
