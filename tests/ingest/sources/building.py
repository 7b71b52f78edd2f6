"""Sources and the parts of their connectors, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ingest.errors import SourceUnavailableError
from ingest.ports import Connector, ConnectorParts, ListedDocument
from retrieval.access import Acl
from retrieval.adapters.folder_blobs import FolderBlobs
from retrieval.corpus import Source, SourceId
from tests.make import NOON, make_acl


class JsonMemory:
    """Keeps facts as JSON text, as the real one does: what is not a JSON value does not survive."""

    def __init__(self) -> None:
        self.text = "{}"

    def load(self) -> dict[str, Any]:
        """See `ConnectorMemory.load`."""
        facts: dict[str, Any] = json.loads(self.text)
        return facts

    def save(self, facts: Mapping[str, Any]) -> None:
        """See `ConnectorMemory.save`."""
        self.text = json.dumps(facts)


def make_source(kind: str, location: Path | str, *, acl: Acl | None = None, **options: Any) -> Source:
    """A source with the id `s1`, owned by olga and readable by the group `staff`."""
    return Source(
        id=SourceId("s1"),
        name="Source one",
        kind=kind,
        location=str(location),
        default_acl=acl or make_acl("olga", allow=("group:staff",)),
        created_at=NOON,
        options=options,
    )


def make_parts(work_folder: Path, *, max_file_bytes: int = 1 << 20, **secrets: str) -> ConnectorParts:
    """Parts with an empty memory and these secrets."""

    def secret(name: str) -> str:
        if name not in secrets:
            raise SourceUnavailableError(f"there is no secret {name}")
        return secrets[name]

    return ConnectorParts(
        blobs=FolderBlobs(work_folder / "blobs"),
        memory=JsonMemory(),
        work_folder=work_folder,
        max_file_bytes=max_file_bytes,
        secret=secret,
    )


def listed(connector: Connector) -> dict[str, ListedDocument]:
    """A listing by external id."""
    documents = list(connector.list_documents())
    by_id = {document.external_id: document for document in documents}
    assert len(by_id) == len(documents), "an external id was listed twice"
    return by_id
