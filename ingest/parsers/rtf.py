"""Rich Text Format."""

from __future__ import annotations

import re
from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from ingest.errors import CorruptError
from ingest.parsers.part import Draft, Part, Source, table
from ingest.parsers.text import read_plain

_TITLE = re.compile(r"\{\\info.{0,2000}?\{\\title\s+([^{}\\]{1,300})\}", re.S)
# Pictures are long runs of hexadecimal; without them the reader is many times faster.
_LONE_BIN = re.compile(r"\\bin(?![0-9a-z])")
# A paragraph mark before the end of a cell would tear the row apart.
_CELL_END = re.compile(r"\\par\s*(\}*)\s*\\cell\b")
_BINARY = re.compile(r"(?<=\s)(?:[0-9a-fA-F]{2}\s*){256,}")


def read(source: Source) -> Draft:
    """Paragraphs, and runs of rows as tables; a row's cells end in "|" in the reader's output.

    Raises:
        CorruptError: The control words make no sense.
    """
    markup = source.content.decode("latin-1").rstrip("\x00")
    try:
        text = rtf_to_text(_plain_markup(markup), encoding="cp1252", errors="replace")
    except (ValueError, IndexError, KeyError, LookupError, TypeError, OverflowError) as error:
        raise CorruptError("the RTF control words make no sense") from error
    title = _TITLE.search(markup[:65_536])
    return Draft(_parts(text), title.group(1) if title else "")


def _plain_markup(markup: str) -> str:
    return _CELL_END.sub(r"\1\\cell", _LONE_BIN.sub("", _BINARY.sub("", markup)))


def _parts(text: str) -> Iterator[Part]:
    body: list[str] = []
    rows: list[str] = []
    for line in text.split("\n"):
        is_row = line.rstrip().endswith("|") and line.count("|") >= 2
        if rows and not is_row:
            yield table([row.rstrip().removesuffix("|").split("|") for row in rows])
            rows.clear()
        if is_row:
            yield from read_plain("\n\n".join(body))
            body.clear()
            rows.append(line)
        else:
            body.append(line)
    if rows:
        yield table([row.rstrip().removesuffix("|").split("|") for row in rows])
    # Each RTF paragraph ends in one line end.
    yield from read_plain("\n\n".join(body))
