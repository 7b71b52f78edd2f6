"""A connector for exports whose documents have to be made first: threads of messages, pages of a wiki.

A listing makes every document and keeps its text in the source's work folder, under a stamp of the export; a
fetch takes it from there, or makes everything again when it is not there or the export has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ingest.errors import FetchFailedError, SourceUnavailableError, TooLargeError
from ingest.ports import ListedDocument
from ingest.sources.export import Export, opened_export, stamp_of
from retrieval.access import Acl

Render = Callable[[Export], Iterator["RenderedDocument"]]


@dataclass(frozen=True, slots=True)
class RenderedDocument:
    """A document as it is made from an export.

    Attributes:
        content: HTML in UTF-8.
        acl: Who may read it; None leaves it to the source's default.
    """

    external_id: str
    content: bytes
    title: str
    url: str
    modified_at: datetime
    acl: Acl | None


class RenderedConnector:
    """Implements `ingest.ports.Connector` for an export and a function that makes its documents."""

    def __init__(self, location: Path, render: Render, *, work_folder: Path, max_file_bytes: int) -> None:
        """Serve what `render` makes of the export at `location`."""
        self._location = location
        self._render = render
        self._work_folder = work_folder / "rendered"
        self._max_file_bytes = max_file_bytes

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`."""
        stamp = stamp_of(self._location)
        self._forget_all_but(stamp)
        with opened_export(self._location) as export:
            for document in self._render(export):
                self._keep(stamp, document)
                yield ListedDocument(
                    external_id=document.external_id,
                    fingerprint=_fingerprint(document),
                    title=document.title,
                    url=document.url,
                    modified_at=document.modified_at,
                    size_bytes=len(document.content),
                    acl=document.acl,
                )

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`."""
        try:
            path = self._path(stamp_of(self._location), external_id)
            if not path.exists():
                for _ in self.list_documents():
                    pass
                path = self._path(stamp_of(self._location), external_id)
            content = path.read_bytes()
        except SourceUnavailableError as error:
            raise FetchFailedError(str(error)) from error
        except OSError as error:
            raise FetchFailedError(f"{external_id} is no longer in the export") from error
        if len(content) > self._max_file_bytes:
            raise TooLargeError(f"{external_id} is larger than {self._max_file_bytes // 2**20} MB")
        return content

    def _path(self, stamp: str, external_id: str) -> Path:
        name = hashlib.sha256(external_id.encode()).hexdigest()
        return self._work_folder / stamp / name[:2] / name

    def _keep(self, stamp: str, document: RenderedDocument) -> None:
        path = self._path(stamp, document.external_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(document.content)
            Path(name).replace(path)
        except OSError as error:
            raise SourceUnavailableError(f"the work folder cannot be written: {error.strerror}") from error

    def _forget_all_but(self, stamp: str) -> None:
        """Remove what was made of earlier states of the export."""
        if self._work_folder.is_dir():
            for folder in self._work_folder.iterdir():
                if folder.name != stamp:
                    shutil.rmtree(folder, ignore_errors=True)


def _fingerprint(document: RenderedDocument) -> str:
    """Hash of the text and of who may read it."""
    digest = hashlib.sha256(document.content)
    if document.acl is not None:
        for principals in (document.acl.allow, document.acl.deny):
            digest.update(b"\0" + "\0".join(sorted(principals)).encode())
    return digest.hexdigest()[:32]
