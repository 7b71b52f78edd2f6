"""What a connector remembers between syncs, in the blob store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retrieval.corpus import SourceId
from retrieval.errors import NotFoundError
from retrieval.ports import BlobStore


class BlobMemory:
    """Implements `ingest.ports.ConnectorMemory` as one JSON blob per source."""

    def __init__(self, blobs: BlobStore, source_id: SourceId) -> None:
        """Keep the facts of this source's connector in `blobs`."""
        self._blobs = blobs
        self._key = f"connector-memory/{source_id}"

    def load(self) -> dict[str, Any]:
        """See `ConnectorMemory.load`."""
        try:
            facts = json.loads(self._blobs.get(self._key))
        except (NotFoundError, ValueError):  # lost or damaged: the connector starts without
            return {}
        return facts if isinstance(facts, dict) else {}

    def save(self, facts: Mapping[str, Any]) -> None:
        """See `ConnectorMemory.save`."""
        self._blobs.put(self._key, json.dumps(facts, separators=(",", ":")).encode())
