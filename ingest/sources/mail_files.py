"""Mail in files: mbox files, a folder of them, and Maildir. Everything is opened for reading only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ingest.errors import FetchFailedError, SourceUnavailableError, TooLargeError
from ingest.sources.mail_folders import FolderChoice
from ingest.sources.mail_headers import MAX_HEADER_BYTES, Candidate, digest_of, header_end, read_headers

_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_MAX_LINE = 1 << 20
_MAX_DIGEST_BYTES = 64 << 20
_MAX_DEPTH = 20
_DRAFT_OR_TRASHED = frozenset("DT")


class MboxFiles:
    """One mbox file, or a folder in which each `.mbox` file is a mail folder of that name."""

    def __init__(self, root: Path, choice: FolderChoice, *, max_message_bytes: int) -> None:
        """Read `root`; messages over `max_message_bytes` are refused on fetch."""
        self._root = root
        self._choice = choice
        self._max_message_bytes = max_message_bytes

    def candidates(self) -> Iterator[Candidate]:
        """Every message that is not hidden.

        Raises:
            SourceUnavailableError: A file cannot be read to its end.
        """
        for path in self._files():
            try:
                yield from self._candidates_in(path)
            except OSError as error:
                raise SourceUnavailableError(f"{path} cannot be read: {error.strerror}") from error

    def read(self, place: tuple[str | int, ...]) -> bytes:
        """The bytes of the message at a place that `candidates` gave.

        Raises:
            FetchFailedError: The file has changed since or cannot be read.
            TooLargeError: The message is over the limit.
        """
        name, start, size = str(place[0]), int(place[1]), int(place[2])
        if size > self._max_message_bytes:
            raise TooLargeError(f"the message is larger than {self._max_message_bytes // 2**20} MB")
        path = self._root / name if name else self._root
        try:
            return _unquoted(_slice(path, start, size))
        except OSError as error:
            raise FetchFailedError(f"the mail file cannot be read: {error.strerror}") from error

    def _files(self) -> list[Path]:
        if self._root.is_file():
            return [self._root]
        if not self._root.is_dir():
            raise SourceUnavailableError(f"{self._root} does not exist")
        found = sorted(
            path for path in self._root.rglob("*.mbox") if path.is_file() and not path.is_symlink()
        )
        names = {path: path.relative_to(self._root).with_suffix("").as_posix() for path in found}
        return [path for path in found if self._choice.takes(names[path])]

    def _candidates_in(self, path: Path) -> Iterator[Candidate]:
        name = "" if path == self._root else path.relative_to(self._root).as_posix()
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        for start, size in _messages_in(path):
            head = _slice(path, start, min(size, MAX_HEADER_BYTES))
            headers = read_headers(head)
            if headers.is_hidden:
                continue
            digest = _Digest(path, start, size, is_mbox=True)
            # A message never changes under its id, but the text under a Message-ID can be another's.
            yield Candidate(headers, digest(), modified, size, (name, start, size), digest)


class MaildirFolders:
    """A Maildir, with subfolders as dotted siblings (Maildir++) or as nested folders."""

    def __init__(self, root: Path, choice: FolderChoice, *, max_message_bytes: int) -> None:
        """Read `root`; messages over `max_message_bytes` are refused on fetch."""
        self._root = root
        self._choice = choice
        self._max_message_bytes = max_message_bytes

    def candidates(self) -> Iterator[Candidate]:
        """Every message that is not hidden, flagged as draft or flagged as trashed.

        Raises:
            SourceUnavailableError: A folder or a message cannot be read.
        """
        try:
            for folder in self._folders(self._root, 0):
                for path in self._messages(folder):
                    yield from self._candidate(folder, path)
        except OSError as error:
            raise SourceUnavailableError(f"the Maildir cannot be read: {error.strerror}") from error

    def read(self, place: tuple[str | int, ...]) -> bytes:
        """The bytes of the message at a place, wherever its flags have moved it since.

        Raises:
            FetchFailedError: It is gone from its folder or cannot be read.
            TooLargeError: It is over the limit.
        """
        folder = self._root / str(place[0])
        try:
            found = next((path for path in self._messages(folder) if _base(path) == place[1]), None)
            if found is None:
                raise FetchFailedError("the message is no longer in its folder")
            with found.open("rb") as file:
                content = file.read(self._max_message_bytes + 1)
        except OSError as error:
            raise FetchFailedError(f"the message cannot be read: {error.strerror}") from error
        if len(content) > self._max_message_bytes:
            raise TooLargeError(f"the message is larger than {self._max_message_bytes // 2**20} MB")
        return content

    def _folders(self, folder: Path, depth: int) -> Iterator[Path]:
        if (folder / "cur").is_dir() and self._choice.takes(self._name(folder)):
            yield folder
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            is_mail = entry.name not in ("cur", "new", "tmp") and entry.is_dir(follow_symlinks=False)
            if is_mail and depth < _MAX_DEPTH:
                yield from self._folders(Path(entry.path), depth + 1)

    def _name(self, folder: Path) -> str:
        """The folder as a person names it: "INBOX", or "Clients/Acme" for `.Clients.Acme`."""
        parts = folder.relative_to(self._root).parts
        names = (part[1:].replace(".", "/") if part.startswith(".") else part for part in parts)
        return "/".join(names) or "INBOX"

    def _messages(self, folder: Path) -> Iterator[Path]:
        for part in ("cur", "new"):
            if (folder / part).is_dir():
                for entry in sorted(os.scandir(folder / part), key=lambda entry: entry.name):
                    if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                        yield Path(entry.path)

    def _candidate(self, folder: Path, path: Path) -> Iterator[Candidate]:
        if _DRAFT_OR_TRASHED & set(path.name.partition(":2,")[2]):
            return
        try:
            status = path.stat()
            head = _slice(path, 0, MAX_HEADER_BYTES)
        except FileNotFoundError:  # a mail program changed its flags, or deleted it, this moment
            again = next((other for other in self._messages(folder) if _base(other) == _base(path)), None)
            if again is None or again == path:
                return
            path, status = again, again.stat()
            head = _slice(path, 0, MAX_HEADER_BYTES)
        headers = read_headers(head)
        if headers.is_hidden:
            return
        yield Candidate(
            headers,
            # The base name is unique for ever, and what lies under it never changes.
            fingerprint=f"{_base(path)}-{status.st_size}",
            received_at=datetime.fromtimestamp(status.st_mtime, UTC),
            size_bytes=status.st_size,
            place=(folder.relative_to(self._root).as_posix(), _base(path)),
            digest=_Digest(path, 0, status.st_size, is_mbox=False),
        )


class _Digest:
    """Hashes a stretch of a file when called; of a very long message its first 64 MB and its length."""

    def __init__(self, path: Path, start: int, size: int, *, is_mbox: bool) -> None:
        self._path, self._start, self._size, self._is_mbox = path, start, size, is_mbox

    def __call__(self) -> str:
        content = _slice(self._path, self._start, min(self._size, _MAX_DIGEST_BYTES))
        content += b"" if self._size <= _MAX_DIGEST_BYTES else str(self._size).encode()
        return digest_of(_unquoted(content) if self._is_mbox else content)


def is_maildir(root: Path) -> bool:
    """Whether a folder is a Maildir."""
    return (root / "cur").is_dir() and (root / "new").is_dir()


def _base(path: Path) -> str:
    """A message's name without its flags."""
    return path.name.partition(":")[0]


def _slice(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _unquoted(content: bytes) -> bytes:
    """The message without the ">" that mbox puts before lines of a body that begin with "From "."""
    at = header_end(content)
    return content[:at] + _QUOTED_FROM.sub(rb"\1", content[at:])


def _messages_in(path: Path) -> Iterator[tuple[int, int]]:
    """Start and size of each message: what lies between "From " lines that follow an empty line."""
    start: int | None = None
    offset = 0
    previous_is_empty, at_line_start = True, True
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            if at_line_start and previous_is_empty and line.startswith(b"From "):
                if start is not None:
                    yield start, offset - start
                start = offset + len(line)
            elif start is None and line.strip():
                raise SourceUnavailableError(f"{path} is not an mbox file")
            previous_is_empty = at_line_start and not line.strip(b"\r\n")
            at_line_start = line.endswith(b"\n")
            offset += len(line)
    if start is not None:
        yield start, offset - start
