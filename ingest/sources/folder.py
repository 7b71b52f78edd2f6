"""A folder of files as a source, with access lists and small facts from `.refdesk.toml` files beside them.

A `.refdesk.toml` applies to its folder and everything below it; of several, the nearest one counts:

    owner = "mara.lindqvist"
    labels = ["no-ai"]                  # of the folder and all below it, beside those that are stated there
    [acl]
    allow = ["group:everyone"]          # user:<id> or group:<name>
    deny = []
    [documents."travel-2023.md"]        # optional, for files in the same folder
    superseded_by = "travel-2025.docx"
    tags = ["travel"]
    labels = ["retention:minutes"]
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from ingest.errors import FetchFailedError, SourceUnavailableError, TooLargeError
from ingest.ports import ConnectorParts, ListedDocument
from ingest.sources.rules import RULES_FILE, FolderRules, read_rules
from retrieval.access import UserId
from retrieval.corpus import Source


def connector(source: Source, parts: ConnectorParts) -> FolderConnector:
    """The connector of a source of the kind `folder`; its location is the folder's path."""
    return FolderConnector(
        Path(source.location), default_owner=source.default_acl.owner, max_file_bytes=parts.max_file_bytes
    )


class FolderConnector:
    """Implements `ingest.ports.Connector` for a folder. Hidden files and symbolic links are left out."""

    def __init__(self, root: Path, *, default_owner: UserId, max_file_bytes: int) -> None:
        """Read documents below `root`.

        Args:
            root: The folder.
            default_owner: Owner where a `.refdesk.toml` states an access list but no owner.
            max_file_bytes: Larger files are refused on fetch.
        """
        self._root = root
        self._default_owner = default_owner
        self._max_file_bytes = max_file_bytes

    def list_documents(self) -> Iterator[ListedDocument]:
        """See `Connector.list_documents`. External ids are paths relative to the root, with "/"."""
        if not self._root.is_dir():
            raise SourceUnavailableError(f"the folder {self._root} does not exist")
        yield from self._walk(self._root, FolderRules())

    def list_paths(self, paths: Collection[str]) -> Iterator[ListedDocument]:
        """See `PartialConnector.list_paths`."""
        if not self._root.is_dir():
            raise SourceUnavailableError(f"the folder {self._root} does not exist")
        for path in outermost(paths):
            yield from self._part(PurePosixPath(path))

    def fetch(self, external_id: str) -> bytes:
        """See `Connector.fetch`."""
        place = PurePosixPath(external_id)
        path = self._root / place
        try:
            is_inside = path.resolve().is_relative_to(self._root.resolve())
            if not is_inside or any(part.startswith(".") for part in place.parts):
                raise FetchFailedError(f"{external_id!r} is no document of the folder")
            with path.open("rb") as file:
                content = file.read(self._max_file_bytes + 1)
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            reason = error.strerror if isinstance(error, OSError) else error
            raise FetchFailedError(f"{external_id!r} cannot be read: {reason}") from error
        if len(content) > self._max_file_bytes:
            raise TooLargeError(f"{external_id} is larger than {self._max_file_bytes // 2**20} MB")
        return content

    def _part(self, relative: PurePosixPath) -> Iterator[ListedDocument]:
        """What lies at or below one path, under the rules of the folders above it."""
        if any(part.startswith(".") for part in relative.parts):
            return
        folder, rules = self._root, self._rules(self._root)
        for part in relative.parts[:-1]:
            folder /= part
            if folder.is_symlink() or not folder.is_dir():
                return
            rules = self._rules(folder).within(rules)
        path = folder / relative.name
        if path.is_symlink():
            return
        if path.is_dir():
            yield from self._walk(path, rules)
        elif path.is_file():
            yield self._listed(path, rules)

    def _walk(self, folder: Path, outer: FolderRules) -> Iterator[ListedDocument]:
        rules = self._rules(folder).within(outer)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise SourceUnavailableError(f"{folder} cannot be listed: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                yield from self._walk(Path(entry.path), rules)
            elif entry.is_file():
                yield self._listed(Path(entry.path), rules)

    def _listed(self, path: Path, rules: FolderRules) -> ListedDocument:
        facts = rules.documents.get(path.name, {})
        try:
            status = path.stat()
        except OSError as error:
            raise SourceUnavailableError(f"{path} cannot be read: {error.strerror}") from error
        relative = PurePosixPath(path.relative_to(self._root).as_posix())
        successor = facts.get("superseded_by", "")
        return ListedDocument(
            external_id=str(relative),
            # The change time catches a copy that kept its old modification time.
            fingerprint=f"{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_size}",
            title=facts.get("title", ""),
            url=facts.get("url", ""),
            modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
            size_bytes=status.st_size,
            acl=rules.acl,
            tags=tuple(facts.get("tags", ())),
            labels=rules.labels_of(path.name),
            superseded_by=str(relative.parent / successor) if successor else "",
        )

    def _rules(self, folder: Path) -> FolderRules:
        path = folder / RULES_FILE
        try:
            return read_rules(path.read_text(encoding="utf-8"), default_owner=self._default_owner)
        except FileNotFoundError:
            return FolderRules()
        except (OSError, ValueError) as error:  # falling back to the parent's rules might show too much
            raise SourceUnavailableError(f"{path} cannot be understood: {error}") from error


def outermost(paths: Collection[str]) -> list[str]:
    """Paths that lie below no other one of them, in order; they cover the same documents."""
    chosen: list[str] = []
    for path in sorted(set(paths), key=lambda each: PurePosixPath(each).parts):
        if not chosen or not PurePosixPath(path).is_relative_to(chosen[-1]):
            chosen.append(path)
    return chosen
