"""Files found inside a file: taken over from the sandbox, and named so that the name can do no harm."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ingest.document import FoundFile, Intake
from ingest.errors import ParserCrashedError
from ingest.parsers.archive import MAX_DEPTH, MAX_UNPACKED_BYTES
from ingest.ports import Lineage

SEPARATOR = "!/"
"""Between the external id of a document and the path of a file found in it."""

MAX_FOUND = 2_000
"""Most documents found inside one that a source lists, at all depths together."""

_MAX_SEGMENT = 120
_MAX_PATH = 400
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffd]")


def scratch_name(number: int) -> str:
    """Name of a member's file in the scratch folder; the archive has no say in it."""
    return f"member-{number}"


def printable_name(name: str) -> str:
    """A stated name as text that can be sent, at most 1,000 characters, the end of it."""
    return _UNPRINTABLE.sub("", name.encode("utf-8", "replace").decode("utf-8"))[-1_000:]


def taken_over(found: Sequence[FoundFile], scratch: Path, folder: Path) -> tuple[FoundFile, ...]:
    """The found files with their bytes moved to `folder`, away from the folder that the parser could write.

    Args:
        scratch: The dead parser's folder; what is in it may be anything.
        folder: On the same file system.

    Raises:
        ParserCrashedError: A file is missing, no plain file, or of another size than was said.
    """
    return tuple(
        one if one.error_code else replace(one, path=_moved(scratch, folder, number, one.size_bytes))
        for number, one in enumerate(found)
    )


def _moved(scratch: Path, folder: Path, number: int, size: int) -> Path:
    source, target = scratch / scratch_name(number), folder / scratch_name(number)
    try:
        status = os.lstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size != size:
            raise ParserCrashedError("a file found inside is not what the parser said")
        source.rename(target)
    except OSError as error:
        raise ParserCrashedError("a file found inside is missing") from error
    return target


def room_for(lineage: Lineage, folder: Path) -> Intake:
    """What may still be taken out of a document: the outermost one's budget, less what was found in it."""
    is_deep = lineage.depth >= MAX_DEPTH
    return Intake(
        folder=folder,
        max_files=0 if is_deep else max(0, MAX_FOUND - lineage.n_relatives),
        max_bytes=max(0, MAX_UNPACKED_BYTES - lineage.relatives_bytes),
    )


def member_ids(parent: str, names: Sequence[str]) -> list[str]:
    """External ids of the files found in a document: safe to show and to compare, and all different.

    No id has a segment `.` or `..`, an empty one, a back slash or an unprintable character; a repeated name
    gets a number. The same names in the same order always give the same ids.
    """
    taken: set[str] = set()
    ids = []
    for number, name in enumerate(names, start=1):
        path = _safe_path(name) or f"file-{number}"
        unique, count = path, 1
        while unique in taken:
            count += 1
            plain = PurePosixPath(path)
            unique = str(plain.with_name(f"{plain.stem} ({count}){plain.suffix}"))
        taken.add(unique)
        ids.append(f"{parent}{SEPARATOR}{unique}")
    return ids


def _safe_path(name: str) -> str:
    segments = _UNPRINTABLE.sub("", name).replace("\\", "/").split("/")
    kept = [_safe_segment(segment) for segment in segments if segment.strip(" .")]
    path = "/".join(kept)
    return path if len(path) <= _MAX_PATH else kept[-1]


def _safe_segment(segment: str) -> str:
    """One name, short, and without the mark that separates a document from what was found in it."""
    plain = segment.strip()
    suffix = PurePosixPath(plain).suffix[:20]
    if len(plain) > _MAX_SEGMENT:
        plain = plain[: _MAX_SEGMENT - len(suffix)] + suffix
    return f"{plain[:-1]}_" if plain.endswith("!") else plain
