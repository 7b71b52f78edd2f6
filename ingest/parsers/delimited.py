"""CSV and TSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from ingest.parsers.part import Draft, Source, table
from ingest.parsers.text_decoding import decode_text

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
# Longest field that is read; the csv module's own limit of 131,072 refuses real exports.
_FIELD_CHARACTERS = 2_000_000


def read(source: Source) -> Draft:
    """One table, its first row the header."""
    text = decode_text(source.content).replace("\x00", "").lstrip("\ufeff")
    return Draft([table(_rows(text, _delimiter(text)))])


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(_FIELD_CHARACTERS)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
    except csv.Error:
        # A quote that never closes: then quotes are letters like others.
        yield from ([cell.strip('"') for cell in line.split(delimiter)] for line in text.splitlines())


def _delimiter(text: str) -> str:
    """The delimiter that cuts the first lines into the same number of cells, more than one, most often.

    The csv module's sniffer takes letters for delimiters on columns of prose.
    """
    if named := re.match(r"sep=([,;|\t])\r?\n", text):
        return named.group(1)
    lines = [line for line in text[:200_000].splitlines() if line.strip()][:_SAMPLE_LINES]
    return max(_DELIMITERS, key=lambda delimiter: _agreement(lines, delimiter))


def _agreement(lines: list[str], delimiter: str) -> tuple[int, int]:
    widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
    cut = [width for width in widths if width > 1]
    if not cut:
        return 0, 0
    usual = max(set(cut), key=cut.count)
    return cut.count(usual), usual
