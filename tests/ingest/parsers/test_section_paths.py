"""Passages say below which headings all of their text stands, and hold text of one section only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.chunking import chunk_document
from ingest.document import Block, BlockKind, ChunkDraft, ParsedDocument
from ingest.settings import ChunkingSettings
from retrieval.sections import MAX_SHOWN_HEADINGS, HeadingPath, place_of
from tests.ingest.test_sandbox import TOKENIZER

SETTINGS = ChunkingSettings(TOKENIZER)
LINES = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["Pay", "Leave", "Travel"]), st.booleans()),
    min_size=1,
    max_size=12,
)
"""Level of a heading, 0 for a paragraph; its words; whether a page begins."""


@given(LINES)
def test_every_heading_above_a_text_is_known(lines: list[tuple[int, str, bool]]) -> None:
    """However deep it lies, for every block that a passage holds a part of; and none holds text of two sections."""
    document, above = _document(lines)
    has_text = any(block.kind is BlockKind.PARAGRAPH for block in document.blocks)
    for chunk in chunk_document(document, title="", settings=SETTINGS):
        held = [at for at, block in enumerate(document.blocks) if _holds(chunk, block)]
        place = place_of(chunk.heading_path, chunk.section_paths)
        assert place.paths is not None
        assert {above[at] for at in held} <= set(place.paths)
        if has_text:
            assert len({above[at] for at in held}) == 1
            assert all(document.blocks[at].kind is BlockKind.PARAGRAPH for at in held)


def test_paths_are_kept_only_where_the_shown_headings_do_not_say_them() -> None:
    """They cost nothing in a document of few levels."""
    shallow, _ = _document([(level, f"H{level}", False) for level in (1, 2, 3)] + [(0, "", False)])
    assert [chunk.section_paths for chunk in chunk_document(shallow, title="", settings=SETTINGS)] == [()]
    deep, _ = _document([(level, f"H{level}", False) for level in range(1, 7)] + [(0, "", False)])
    (chunk,) = chunk_document(deep, title="", settings=SETTINGS)
    assert len(chunk.heading_path) == MAX_SHOWN_HEADINGS
    assert chunk.section_paths == (("H1", "H2", "H3", "H4", "H5", "H6"),)


def test_headings_alone_are_text_below_themselves() -> None:
    """A rule for one of them reaches the passage that is made of them."""
    document, _ = _document([(1, "Pay", False), (1, "Leave", False)])
    (chunk,) = chunk_document(document, title="", settings=SETTINGS)
    assert chunk.section_paths == (("Pay",), ("Leave",))


def _document(lines: list[tuple[int, str, bool]]) -> tuple[ParsedDocument, list[HeadingPath]]:
    """A document, and the headings above each of its blocks, a heading's own among them."""
    blocks: list[Block] = []
    above: list[HeadingPath] = []
    path: list[tuple[int, str]] = []
    text, page = "", 1
    for level, words, begins_page in lines:
        page += begins_page
        said = words if level else "Everybody is asked to read this sentence with care."
        if level:
            path = [each for each in path if each[0] < level] + [(level, words)]
        start = len(text) + 2 if text else 0
        text = f"{text}\n\n{said}" if text else said
        kind = BlockKind.HEADING if level else BlockKind.PARAGRAPH
        blocks.append(Block(kind, start, len(text), level, page))
        above.append(tuple(heading for _, heading in path))
    return ParsedDocument("text/plain", "", text, tuple(blocks)), above


def _holds(chunk: ChunkDraft, block: Block) -> bool:
    return block.start < chunk.end and block.end > chunk.start
