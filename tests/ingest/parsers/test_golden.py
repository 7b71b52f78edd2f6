"""Small files of every format against their expected parse and the promises of `ParsedDocument`.

To accept a change on purpose, run with REFDESK_WRITE_GOLDEN=1 and read the diff.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from ingest.document import BlockKind, ParsedDocument
from ingest.parsing import ARCHIVES, PARSERS, parse

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(
    path
    for path in GOLDEN.iterdir()
    if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "README.md"
)


def outline(document: ParsedDocument) -> str:
    """A document as text a person can check: facts, then one line per block."""
    facts = [document.media_type, document.title, document.language, str(document.modified_at)]
    lines = [
        f"{name}: {value}"
        for name, value in zip(("type", "title", "language", "modified"), facts, strict=True)
    ]
    for block in document.blocks:
        level = f" {block.level}" if block.level else ""
        page = f" p{block.page}" if block.page else ""
        lines.append(f"{block.kind}{level}{page}: {document.text[block.start : block.end]!r}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_parse_matches_the_expected_outline(path: Path) -> None:
    """Each golden file parses to exactly what was reviewed."""
    expected = GOLDEN / "expected" / f"{path.name}.txt"
    found = outline(parse(path.read_bytes(), name=path.name))
    if os.environ.get("REFDESK_WRITE_GOLDEN"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_blocks_tile_the_text(path: Path) -> None:
    """Blocks are in order, trimmed, a blank line apart, and leave no text out."""
    document = parse(path.read_bytes(), name=path.name)
    check_promises(document)


def check_promises(document: ParsedDocument) -> None:
    """Every promise in the docstrings of `ingest.document`."""
    text = document.text
    assert unicodedata.is_normalized("NFC", text)
    assert "\r" not in text
    assert "\x00" not in text
    assert "\n\n".join(text[block.start : block.end] for block in document.blocks) == text
    expected_start = 0
    for block in document.blocks:
        inside = text[block.start : block.end]
        assert block.start == expected_start
        assert inside == inside.strip() != ""
        assert (block.level > 0) == (block.kind is BlockKind.HEADING)
        assert block.page is None or block.page >= 1
        assert not block.header or inside.startswith(block.header + "\n")
        expected_start = block.end + 2


def test_every_parser_has_a_golden_file() -> None:
    """No parser module goes without an example."""
    used = {PARSERS[parse(path.read_bytes(), name=path.name).media_type] for path in FILES}
    archives = {PARSERS[media_type] for media_type in ARCHIVES}  # no text of their own: test_children.py
    assert set(PARSERS.values()) - used - archives == set()
