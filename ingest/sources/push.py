"""Documents that clients send: their bytes lie in the blob store until they are replaced or deleted."""

from __future__ import annotations

from collections.abc import Iterator

from ingest.errors import FetchFailedError, SourceUnavailableError
from ingest.ports import ConnectorParts, ListedDocument
from retrieval.corpus import Source, SourceId, document_id_for, pushed_key
from retrieval.errors import NotFoundError
from retrieval.ports import BlobStore


def connector(source: Source, parts: ConnectorParts) -> PushConnector:
    """The connector of a source of the kind `push`."""
    return PushConnector(source.id, parts.blobs)


class PushConnector:
    """Implements `ingest.ports.Connector` for pushed documents. They are not listed: clients say what changed."""

    def __init__(self, source_id: SourceId, blobs: BlobStore) -> None:
        """Read what was pushed to this source."""
        self._source_id = source_id
        self._blobs = blobs

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`; always an error: there is nothing to compare with."""
        raise SourceUnavailableError("documents of this source are pushed; there is nothing to sync")

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`."""
        try:
            return self._blobs.get(pushed_key(document_id_for(self._source_id, external_id)))
        except NotFoundError as error:
            raise FetchFailedError(f"the bytes of {external_id} are gone") from error
