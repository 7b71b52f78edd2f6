"""What a connector is lent, with a memory that goes through JSON as the real one does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingest.errors import SourceUnavailableError
from ingest.ports import ConnectorParts
from retrieval.adapters.folder_blobs import FolderBlobs


class JsonMemory:
    """`ConnectorMemory` that lasts as long as the object."""

    def __init__(self) -> None:
        self.saved = "{}"

    def load(self) -> dict[str, Any]:
        """See `ConnectorMemory.load`."""
        facts: dict[str, Any] = json.loads(self.saved)
        return facts

    def save(self, facts: Mapping[str, Any]) -> None:
        """See `ConnectorMemory.save`."""
        self.saved = json.dumps(dict(facts))


def make_parts(
    work_folder: Path,
    *,
    max_file_bytes: int = 10_000,
    memory: JsonMemory | None = None,
    secrets: Mapping[str, str] | None = None,
) -> ConnectorParts:
    """Parts with these secrets and no others."""

    def secret(name: str) -> str:
        if not secrets or name not in secrets:
            raise SourceUnavailableError(f"there is no secret {name}")
        return secrets[name]

    work_folder.mkdir(parents=True, exist_ok=True)
    return ConnectorParts(
        blobs=FolderBlobs(work_folder / "blobs"),
        memory=memory or JsonMemory(),
        work_folder=work_folder,
        max_file_bytes=max_file_bytes,
        secret=secret,
    )
