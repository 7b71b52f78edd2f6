"""Zip containers read within a budget that is checked before anything is unpacked."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from datetime import datetime

from ingest.errors import CorruptError, EncryptedError, ExpansionError
from ingest.parsers.dates import parse_iso_date
from ingest.parsers.xml_tree import Element, child_text, parse_xml

MAX_ENTRIES = 10_000
MAX_UNPACKED_BYTES = 200 * 1024 * 1024
MAX_MEMBER_BYTES = 60 * 1024 * 1024
MAX_RATIO = 200
# A small file may pack well without harm: an empty sheet of styles reaches a ratio of several hundred.
MIN_BYTES_FOR_RATIO = 20 * 1024 * 1024
MAX_DEPTH = 3
_NOT_NESTED = MAX_DEPTH + 1
_END_RECORD_BYTES = 22 + 65_535

_NESTED_SUFFIXES = (".zip", ".docx", ".xlsx", ".pptx", ".odt", ".jar", ".epub")
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, KeyError)


def check_budget(content: bytes, *, nested: bool = False) -> None:
    """Compare an archive's own table of contents with the budget; unpacks nothing but archives in archives.

    Args:
        content: All of the archive.
        nested: Whether to look into archives inside, too. Documents do not need it: what is embedded
            in them stays packed.

    Raises:
        ExpansionError: Too many entries or bytes, too dense, members that overlap, or too deep.
        EncryptedError: A member needs a password.
        CorruptError: The table of contents cannot be read.
    """
    if declared_entries(content) > MAX_ENTRIES:
        raise ExpansionError(f"the archive holds more than {MAX_ENTRIES} entries")
    _check(content, 1 if nested else _NOT_NESTED, [MAX_ENTRIES, MAX_UNPACKED_BYTES])


def _check(content: bytes, depth: int, left: list[int]) -> None:
    with open_archive(content) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        packed = sum(member.compress_size for member in members)
        left[0] -= len(members)
        left[1] -= unpacked
        if left[0] < 0:
            raise ExpansionError(f"the archive holds more than {MAX_ENTRIES} entries")
        if left[1] < 0 or (unpacked > MIN_BYTES_FOR_RATIO and unpacked > MAX_RATIO * max(packed, 1)):
            raise ExpansionError(f"the archive would unpack to {unpacked} bytes from {len(content)}")
        if packed > len(content) + 1024:
            raise ExpansionError("the archive's members overlap")
        # Of an archive, what is not encrypted can be read; a document needs all of its parts.
        locked = [bool(member.flag_bits & 1) for member in members if not member.is_dir()]
        if any(locked) and (depth == _NOT_NESTED or all(locked)):
            raise EncryptedError("the archive is encrypted with a password")
        for member in members:
            if depth < _NOT_NESTED and member.filename.lower().endswith(_NESTED_SUFFIXES):
                _check_member(archive, member, depth, left)


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, depth: int, left: list[int]) -> None:
    # A member that is damaged or locked fails by itself, as the document that it becomes.
    with contextlib.suppress(CorruptError, EncryptedError):
        inner = read_member(archive, member)
        if not inner.startswith(b"PK"):
            return
        if depth >= MAX_DEPTH:
            raise ExpansionError(f"archives are nested more than {MAX_DEPTH} deep")
        _check(inner, depth + 1, left)


def declared_entries(content: bytes) -> int:
    """How many entries the end record of a zip promises, 0 without one; the directory is not read."""
    at = content.rfind(b"PK\x05\x06", -_END_RECORD_BYTES)
    return int.from_bytes(content[at + 10 : at + 12], "little") if at >= 0 else 0


def open_archive(content: bytes) -> zipfile.ZipFile:
    """Open a zip held in memory.

    Raises:
        CorruptError: It has no readable table of contents.
    """
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except _ZIP_ERRORS as error:
        raise CorruptError("the zip container is damaged or cut off") from error


def read_member(archive: zipfile.ZipFile, name: str | zipfile.ZipInfo) -> bytes:
    """One member's bytes, never more than its entry promised.

    Raises:
        CorruptError: The member is missing or damaged.
        EncryptedError: It needs a password.
    """
    try:
        return archive.read(name)
    except RuntimeError as error:
        raise EncryptedError("the archive is encrypted with a password") from error
    except _ZIP_ERRORS as error:
        raise CorruptError(
            f"a part of the container is missing or damaged: {type(error).__name__}"
        ) from error


def read_xml(archive: zipfile.ZipFile, name: str) -> Element:
    """One member parsed as XML; raises as `read_member` and `parse_xml` do."""
    return parse_xml(read_member(archive, name))


def core_properties(archive: zipfile.ZipFile) -> tuple[str, str, datetime | None]:
    """Title, author and last change of an Office Open XML file; empty where not stated."""
    try:
        root = read_xml(archive, "docProps/core.xml")
    except CorruptError:
        return "", "", None
    return (
        child_text(root, "title"),
        child_text(root, "creator"),
        parse_iso_date(child_text(root, "modified")),
    )
