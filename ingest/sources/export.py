"""An export on disk, a zip or the folder it was unpacked to, read within a budget.

Connectors run outside the parser's sandbox, so everything that an export claims is bounded before it is
believed: the number of entries, their sizes, and how far they expand.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from ingest.errors import SourceUnavailableError

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, ValueError, EOFError)


@dataclass(frozen=True, slots=True)
class ExportBudget:
    """What an export may cost at most.

    Attributes:
        entries: Files in it.
        member_bytes: One file, unpacked.
        total_bytes: All files, unpacked.
        ratio: Unpacked size over packed size, for files of a megabyte and more.
    """

    entries: int = 500_000
    member_bytes: int = 2 << 30
    total_bytes: int = 64 << 30
    ratio: int = 200


class Export(Protocol):
    """The files of an export by their names inside it, with "/"."""

    def names(self) -> list[str]:
        """All names, sorted.

        Raises:
            SourceUnavailableError: The export cannot be read or is over its budget.
        """
        ...

    def open(self, name: str) -> IO[bytes]:
        """One file's bytes as a stream; what is not there is a `SourceUnavailableError`."""
        ...


@contextmanager
def opened_export(location: Path, budget: ExportBudget | None = None) -> Iterator[Export]:
    """Open an export for the time of a `with` block.

    Raises:
        SourceUnavailableError: There is none, it is damaged, or it is over its budget. Errors of the file
            system and of the zip that occur inside the block become this one, too.
    """
    limits = budget or ExportBudget()
    try:
        if location.is_dir():
            yield _FolderExport(location, limits)
        else:
            with zipfile.ZipFile(location) as archive:
                yield _ZipExport(archive, limits)
    except FileNotFoundError as error:
        raise SourceUnavailableError(
            f"{location} does not exist, or lost a file while it was read"
        ) from error
    except OSError as error:
        raise SourceUnavailableError(f"{location} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceUnavailableError(f"{location} is not a zip file, or is damaged") from error


def read_small(export: Export, name: str, max_bytes: int) -> bytes:
    """All bytes of one file.

    Raises:
        SourceUnavailableError: It cannot be read, or is larger than `max_bytes`.
    """
    try:
        with export.open(name) as file:
            content = file.read(max_bytes + 1)
    except _ZIP_ERRORS as error:
        raise SourceUnavailableError(f"{name} in the export is damaged") from error
    if len(content) > max_bytes:
        raise SourceUnavailableError(f"{name} in the export is larger than {max_bytes // 2**20} MB")
    return content


def stamp_of(location: Path) -> str:
    """Changes whenever the export on disk may have changed.

    Raises:
        SourceUnavailableError: There is none.
    """
    digest = hashlib.sha256()
    try:
        paths = _walk(location) if location.is_dir() else iter([location])
        for path in paths:
            status = path.stat()
            digest.update(f"{path}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_size}\n".encode())
    except OSError as error:
        raise SourceUnavailableError(f"{location} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:32]


class _FolderExport:
    def __init__(self, root: Path, budget: ExportBudget) -> None:
        self._root = root
        self._budget = budget

    def names(self) -> list[str]:
        paths = list(_walk(self._root))
        if len(paths) > self._budget.entries:
            raise SourceUnavailableError(f"the export holds more than {self._budget.entries} files")
        return sorted(path.relative_to(self._root).as_posix() for path in paths)

    def open(self, name: str) -> IO[bytes]:
        path = self._root / PurePosixPath(name)
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise SourceUnavailableError(f"{name} leads out of the export")
        if path.stat().st_size > self._budget.member_bytes:
            raise SourceUnavailableError(f"{name} in the export is too large")
        return path.open("rb")


class _ZipExport:
    def __init__(self, archive: zipfile.ZipFile, budget: ExportBudget) -> None:
        self._archive = archive
        self._budget = budget
        members = archive.infolist()
        if len(members) > budget.entries:
            raise SourceUnavailableError(f"the export holds more than {budget.entries} files")
        if sum(member.file_size for member in members) > budget.total_bytes:
            raise SourceUnavailableError(f"the export unpacks to more than {budget.total_bytes} bytes")
        if any(member.flag_bits & 1 for member in members):
            raise SourceUnavailableError("the export is encrypted with a password")

    def names(self) -> list[str]:
        return sorted(member.filename for member in self._archive.infolist() if not member.is_dir())

    def open(self, name: str) -> IO[bytes]:
        try:
            member = self._archive.getinfo(name)
        except KeyError as error:
            raise SourceUnavailableError(f"the export has no file {name}") from error
        size = member.file_size
        if size > self._budget.member_bytes or size > (1 << 20) + self._budget.ratio * member.compress_size:
            raise SourceUnavailableError(f"{name} in the export would unpack to {size} bytes")
        try:
            # A member is never read beyond the size that its entry states.
            return self._archive.open(member)
        except _ZIP_ERRORS as error:
            raise SourceUnavailableError(f"{name} in the export is damaged") from error


def _walk(root: Path) -> Iterator[Path]:
    """Every regular file below a folder, sorted; hidden files and links are left out."""
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)
