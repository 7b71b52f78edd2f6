"""`BlobStore` in a folder: one file a key, written aside and renamed into place."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from retrieval.errors import NotFoundError

_KEY = re.compile(r"[a-z]+/[0-9a-f-]{8,64}")


class FolderBlobs:
    """Implements `retrieval.ports.BlobStore`. Keys look like `text/<uuid>`; anything else is refused."""

    def __init__(self, folder: Path) -> None:
        """Keep blobs below this folder, made when absent."""
        self._folder = folder

    def put(self, key: str, content: bytes) -> None:
        """See `BlobStore.put`."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
            aside.write(content)
            aside.flush()
            os.fsync(aside.fileno())
        Path(aside.name).replace(path)

    def get(self, key: str) -> bytes:
        """See `BlobStore.get`."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"no blob {key}") from error

    def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a blob key: {key!r}")
        kind, name = key.split("/")
        return self._folder / kind / name[:2] / name
