"""Archives: they have no text of their own, only members, which become documents of their own.

Everything is read in memory or as a stream; no member is ever unpacked to a path that the archive names.
Links, devices and folders are left out, and so is what operating systems leave in archives unasked.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any

from ingest import media_types as types
from ingest.errors import CorruptError, ExpansionError, TooLargeError
from ingest.parsers.archive import (
    MAX_MEMBER_BYTES,
    MAX_RATIO,
    MAX_UNPACKED_BYTES,
    MIN_BYTES_FOR_RATIO,
    open_archive,
    read_member,
)
from ingest.parsers.part import Draft, PackedMember, Source

_LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_STREAM_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)
_TAR_MAGIC_AT = 257
_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    types.GZIP: lambda packed: gzip.GzipFile(fileobj=packed),
    types.BZIP2: bz2.BZ2File,
    types.XZ: lzma.LZMAFile,
}
_SUFFIXES = (".gz", ".bz2", ".xz")


def read(source: Source) -> Draft:
    """A draft without parts; its members are read one after the other while the caller keeps them."""
    if source.media_type == types.ZIP:
        return Draft([], members=_zip_members(source))
    if source.media_type == types.TAR:
        return Draft([], members=_tar_members(io.BytesIO(source.content)))
    stream = _Unpacked(source)
    if stream.head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return Draft([], members=_tar_members(stream))
    return Draft([], members=[PackedMember(_unpacked_name(source.name), stream.read_all)])


def _zip_members(source: Source) -> Iterator[PackedMember]:
    with open_archive(source.content) as archive:
        for entry in archive.infolist():
            source.beat()
            if not entry.is_dir() and not _is_litter(entry.filename):
                yield PackedMember(entry.filename, partial(_zip_member, archive, entry))


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > MAX_MEMBER_BYTES:
        raise TooLargeError(f"the file has {entry.file_size} bytes; at most {MAX_MEMBER_BYTES} are unpacked")
    return read_member(archive, entry)


def _tar_members(stream: IO[bytes] | _Unpacked) -> Iterator[PackedMember]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]  # only reads
            for entry in archive:
                if entry.isreg() and not _is_litter(entry.name):
                    yield PackedMember(entry.name, partial(_tar_member, archive, entry))
    except _STREAM_ERRORS as error:
        raise CorruptError(f"the archive is damaged or cut off: {type(error).__name__}") from error


def _tar_member(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    if entry.size > MAX_MEMBER_BYTES:
        raise TooLargeError(f"the file has {entry.size} bytes; at most {MAX_MEMBER_BYTES} are unpacked")
    content = archive.extractfile(entry)
    return content.read() if content is not None else b""


class _Unpacked:
    """A compressed stream, read within the budget of bytes and ratio."""

    def __init__(self, source: Source) -> None:
        """Read the first block.

        Raises:
            CorruptError: There is none.
        """
        self._source = source
        self._stream = _OPENERS[source.media_type](io.BytesIO(source.content))
        self._n_bytes = 0
        self.head = self._read(tarfile.BLOCKSIZE)
        self._is_head_unread = True

    def read(self, size: int) -> bytes:
        """The next bytes; the first block again at first."""
        if self._is_head_unread:
            self._is_head_unread = False
            return self.head + self._read(max(size - len(self.head), 0))
        return self._read(size)

    def read_all(self) -> bytes:
        """All bytes of a single packed file."""
        parts = []
        while part := self.read(1 << 20):
            parts.append(part)
            if self._n_bytes > MAX_MEMBER_BYTES:
                raise ExpansionError(f"the file unpacks to more than {MAX_MEMBER_BYTES} bytes")
        return b"".join(parts)

    def _read(self, size: int) -> bytes:
        self._source.beat()
        try:
            content = self._stream.read(size) if size else b""
        except _STREAM_ERRORS as error:
            raise CorruptError(
                f"the compressed data is damaged or cut off: {type(error).__name__}"
            ) from error
        self._n_bytes += len(content)
        packed = len(self._source.content)
        is_dense = self._n_bytes > MIN_BYTES_FOR_RATIO and self._n_bytes > MAX_RATIO * packed
        if is_dense or self._n_bytes > MAX_UNPACKED_BYTES:
            raise ExpansionError(f"the archive unpacks to more than {self._n_bytes} bytes from {packed}")
        return content


def _is_litter(name: str) -> bool:
    return name.startswith(_LITTER[0]) or PurePosixPath(name).name in _LITTER


def _unpacked_name(name: str) -> str:
    plain = PurePosixPath(name.replace("\\", "/")).name
    for suffix in _SUFFIXES:
        if plain.lower().endswith(suffix) and len(plain) > len(suffix):
            return plain[: -len(suffix)]
    return plain or "content"
