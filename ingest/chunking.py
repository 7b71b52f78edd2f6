"""Stage 2: a parsed document -> chunks within the embedder's reach, bounded by headings, pages and sentences.

LlamaIndex's `SentenceSplitter` merges sentences up to the budget; everything that makes a chunk citable (exact
offsets, page, heading path, a table's header) is added here. Runs in the sandbox child, next to the parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from llama_index.core.node_parser import SentenceSplitter
from tokenizers import Tokenizer

from ingest.document import Block, BlockKind, ChunkDraft, ParsedDocument
from ingest.settings import ChunkingSettings
from retrieval.corpus import indexed_text
from retrieval.sections import MAX_HEADING_CHARS, MAX_SHOWN_HEADINGS, HeadingPath
from retrieval.sentences import sentence_pieces

_MODEL_TOKENS = 254
"""What all-MiniLM-L6-v2 reads of a text, its two special tokens apart."""

_MIN_BODY_TOKENS = 96
_CHARS_PER_TOKEN_AT_MOST = 10
"""A word of over 100 letters is a single unknown wordpiece; counting by length keeps such chunks short."""


@dataclass(frozen=True, slots=True)
class _Section:
    """Blocks of one kind (a table, or everything else) under one heading and on one page.

    `paths` are the full heading paths, one for each block.
    """

    heading_path: HeadingPath
    page: int | None
    blocks: tuple[Block, ...]
    paths: tuple[HeadingPath, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A block below its headings, a heading below itself; `n_headings` counts those up to here."""

    block: Block
    path: HeadingPath
    n_headings: int


def chunk_document(
    document: ParsedDocument, *, title: str, settings: ChunkingSettings
) -> tuple[ChunkDraft, ...]:
    """Cut a document into chunks, in reading order.

    Args:
        document: The parsed document.
        title: The title that will stand before every chunk's text; it takes part of the budget.
        settings: Budget and tokenizer.

    Returns:
        Chunks whose text is exactly `document.text[start:end]`. They cover every block that is not a
        heading; a document of headings only gives those as chunks. Positions count from 0 without gaps. No
        chunk holds text from below two headings, but for a document of headings only.
    """
    count = _token_counter(settings.tokenizer_path)
    drafts: list[ChunkDraft] = []
    for section in _sections(document):
        for start, end, context in _cut(document.text, section, title, count, settings.max_tokens):
            text = document.text[start:end]
            drafts.append(
                ChunkDraft(
                    position=len(drafts),
                    start=start,
                    end=end,
                    text=text,
                    heading_path=section.heading_path,
                    page=section.page,
                    context=context,
                    n_tokens=count(indexed_text(title, section.heading_path, context, text)),
                    section_paths=_paths_within(section, start, end),
                )
            )
    return tuple(drafts)


def _sections(document: ParsedDocument) -> Iterator[_Section]:
    placed = list(_under_headings(document))
    texts = [each for each in placed if each.block.kind is not BlockKind.HEADING]
    has_text = bool(texts)
    for _, group in groupby(texts or placed, key=_section_key if has_text else _page_of):
        members = list(group)
        shown = members[0].path[-MAX_SHOWN_HEADINGS:] if has_text else ()  # headings only: they are the text
        blocks = tuple(each.block for each in members)
        yield _Section(shown, blocks[0].page, blocks, tuple(each.path for each in members))


def _section_key(placed: _Placed) -> tuple[object, ...]:
    """Text below two headings is never in one section, not even below two of the same words."""
    is_table = placed.block.kind is BlockKind.TABLE
    return placed.n_headings, placed.block.page, placed.block.start if is_table else -1


def _page_of(placed: _Placed) -> int | None:
    return placed.block.page


def _under_headings(document: ParsedDocument) -> Iterator[_Placed]:
    path: list[tuple[int, str]] = []
    n_headings = 0
    for block in document.blocks:
        if block.kind is BlockKind.HEADING:
            path = [(level, text) for level, text in path if level < block.level]
            heading = " ".join(document.text[block.start : block.end].split())
            path.append((block.level, heading[:MAX_HEADING_CHARS]))
            n_headings += 1
        yield _Placed(block, tuple(text for _, text in path), n_headings)


def _paths_within(section: _Section, start: int, end: int) -> tuple[HeadingPath, ...]:
    """Full heading paths of the text [start, end), where the shown one does not say it all; else none."""
    inside = (
        path
        for block, path in zip(section.blocks, section.paths, strict=True)
        if block.start < end and block.end > start
    )
    distinct = tuple(dict.fromkeys(inside))
    is_told = distinct == (section.heading_path,) and len(section.heading_path) < MAX_SHOWN_HEADINGS
    return () if is_told else distinct


def _cut(
    text: str, section: _Section, title: str, count: Callable[[str], int], max_tokens: int
) -> Iterator[tuple[int, int, str]]:
    """Spans of one section's chunks, each with the context that it needs."""
    first, last = section.blocks[0], section.blocks[-1]
    context = first.header if first.kind is BlockKind.TABLE else ""
    prefix_tokens = count(indexed_text(title, section.heading_path, context, ""))
    budget = max(_MIN_BODY_TOKENS, min(max_tokens, _MODEL_TOKENS - prefix_tokens))
    spans = _split(text, first.start, last.end, budget, count, by_line=bool(context))
    for number, (start, end) in enumerate(spans):
        yield start, end, context if number > 0 else ""


def _split(
    text: str, start: int, end: int, budget: int, count: Callable[[str], int], *, by_line: bool
) -> list[tuple[int, int]]:
    body = text[start:end]
    if count(body) <= budget:
        return [(start, end)]
    splitter = SentenceSplitter(
        chunk_size=budget,
        chunk_overlap=0,
        tokenizer=lambda piece: range(count(piece)),
        chunking_tokenizer_fn=_lines if by_line else sentence_pieces,
        paragraph_separator="\n\n",
    )
    spans, cursor = [], 0
    for piece in splitter.split_text(body):
        at = body.index(piece, cursor)  # pieces are slices of the body, in order
        spans.append((start + at, start + at + len(piece)))
        cursor = at + len(piece)
    return spans


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@lru_cache(maxsize=4)
def _token_counter(tokenizer_path: Path) -> Callable[[str], int]:
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    @lru_cache(maxsize=8192)  # the splitter asks for the same pieces again and again
    def count(text: str) -> int:
        wordpieces = len(tokenizer.encode(text, add_special_tokens=False).ids)
        return max(wordpieces, -(-len(text) // _CHARS_PER_TOKEN_AT_MOST))

    return count
