"""The answer of a parser process as JSON, and the checks before it is believed.

The process has read a hostile file; whatever it sends may be forged. So the format is one that cannot carry
code, chunk texts are not sent but cut out of the text again, and every offset and length is verified.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import datetime
from typing import Any, Final

from ingest.document import Block, BlockKind, ChunkDraft, Extraction, FoundFile, ParsedDocument
from ingest.errors import (
    CorruptError,
    DocumentError,
    EmptyFileError,
    EncryptedError,
    ExpansionError,
    NoTextError,
    ParserCrashedError,
    ParserMemoryError,
    ParserTimeoutError,
    TooLargeError,
    UnsupportedTypeError,
)
from retrieval.labels import labels_named

MAX_TEXT_CHARACTERS: Final = 2_000_000
_MAX_LINE_CHARACTERS: Final = 1_000
_MAX_MESSAGE_CHARACTERS: Final = 300

# What a parser process may say went wrong. Fetching is not its business.
ERRORS_BY_CODE: Final[dict[str, type[DocumentError]]] = {
    error.code: error
    for error in (
        UnsupportedTypeError, EmptyFileError, NoTextError, EncryptedError, CorruptError, TooLargeError,
        ExpansionError, ParserTimeoutError, ParserMemoryError, ParserCrashedError,
    )
}  # fmt: skip

_CODE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,100}")


def error_for(code: str, message: str) -> DocumentError:
    """The error that a parser process reported by its code."""
    return ERRORS_BY_CODE[code](message or code)


def encode_error(code: str, message: str) -> bytes:
    """An answer that says why there is no document."""
    return json.dumps({"error": code, "message": message[:_MAX_MESSAGE_CHARACTERS]}).encode()


def encode_extraction(extraction: Extraction) -> bytes:
    """An answer with a document, on one line."""
    document = extraction.document
    answer = {
        "media_type": document.media_type,
        "title": document.title,
        "text": document.text,
        "blocks": [[b.kind.value, b.start, b.end, b.level, b.page, len(b.header)] for b in document.blocks],
        "language": document.language,
        "modified_at": document.modified_at.isoformat() if document.modified_at else None,
        "warnings": document.warnings,
        "metadata": document.metadata,
        "labels": document.labels,
        "members": [[f.name, f.size_bytes, f.error_code, f.error_message[:300]] for f in extraction.found],
        "chunks": [
            [c.start, c.end, c.heading_path, c.page, c.context, c.n_tokens, c.section_paths]
            for c in extraction.chunks
        ],
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def decode_answer(payload: bytes) -> Extraction:
    """The extraction in an answer.

    Raises:
        DocumentError: The one that the answer reports, or ParserCrashedError when it breaks a promise of
            `ingest.document`.
    """
    try:
        answer = json.loads(payload)
        error = ERRORS_BY_CODE[answer["error"]] if "error" in answer else None
        extraction = _extraction(answer) if error is None else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as broken:
        raise ParserCrashedError(
            f"the parser's answer cannot be believed: {type(broken).__name__}"
        ) from broken
    if extraction is None:
        assert error is not None
        raise error(_line(answer.get("message"), _MAX_MESSAGE_CHARACTERS) or error.code)
    return extraction


def _extraction(answer: dict[str, Any]) -> Extraction:
    found = tuple(_found(fields) for fields in answer.get("members", []))
    text = _text(answer["text"]) if answer["text"] or not found else ""
    modified_at = answer["modified_at"]
    document = ParsedDocument(
        media_type=_matching(_MEDIA_TYPE, answer["media_type"]),
        title=_line(answer["title"]),
        text=text,
        blocks=_blocks(answer["blocks"], text),
        language=_matching(_LANGUAGE, answer["language"]),
        modified_at=datetime.fromisoformat(modified_at) if modified_at else None,
        warnings=tuple(_matching(_CODE, code) for code in answer["warnings"][:20]),
        metadata={
            _matching(_CODE, key): _line(value) for key, value in list(answer["metadata"].items())[:20]
        },
        labels=labels_named(map(_line, answer.get("labels", []))),
    )
    if document.modified_at is not None and document.modified_at.tzinfo is None:
        raise ValueError("a date without a zone")
    chunks = tuple(_chunk(position, fields, text) for position, fields in enumerate(answer["chunks"]))
    if bool(chunks) != bool(text):
        raise ValueError("a text without chunks")
    return Extraction(document, chunks, found)


def _found(fields: list[Any]) -> FoundFile:
    name, size, code, message = fields
    _check_counts(size)
    if code and code not in ERRORS_BY_CODE:
        raise ValueError("no such error")
    return FoundFile(_line(name), size, _line(code), _line(message, _MAX_MESSAGE_CHARACTERS))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT_CHARACTERS:
        raise ValueError("no text, or too long")
    value.encode("utf-8")  # refuses lone surrogates, which no database or client takes
    if "\r" in value or "\x00" in value or not unicodedata.is_normalized("NFC", value):
        raise ValueError("not normalised")
    return value


def _blocks(rows: list[list[Any]], text: str) -> tuple[Block, ...]:
    """The blocks, which must tile the text with exactly one blank line between neighbours."""
    blocks: list[Block] = []
    expected = 0
    for kind, start, end, level, page, header_length in rows:
        _check_counts(start, end, level, header_length)
        inside = text[start:end]
        if start != expected or end > len(text) or not inside or inside != inside.strip():
            raise ValueError("a block out of place")
        if text[end : end + 2] not in ("\n\n", ""):
            raise ValueError("blocks that touch")
        header = inside[:header_length]
        if header and header != inside.partition("\n")[0]:
            raise ValueError("a header that is not the first row")
        blocks.append(Block(BlockKind(kind), start, end, level, _page(page), header))
        expected = end + 2
    if expected != (len(text) + 2 if text else 0):
        raise ValueError("text outside of blocks")
    return tuple(blocks)


def _chunk(position: int, fields: list[Any], text: str) -> ChunkDraft:
    start, end, heading_path, page, context, n_tokens, section_paths = fields
    _check_counts(start, end, n_tokens)
    if not start < end <= len(text):
        raise ValueError("a chunk out of place")
    return ChunkDraft(
        position=position,
        start=start,
        end=end,
        text=text[start:end],
        heading_path=tuple(_line(heading) for heading in heading_path),
        page=_page(page),
        context=_line(context, MAX_TEXT_CHARACTERS),
        n_tokens=n_tokens,
        section_paths=tuple(tuple(_line(heading) for heading in path) for path in section_paths),
    )


def _check_counts(*values: object) -> None:
    if any(type(value) is not int or value < 0 for value in values):
        raise ValueError("not a count")


def _page(value: object) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError("not a page number")
    return value


def _line(value: object, limit: int = _MAX_LINE_CHARACTERS) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise ValueError("not a short text")
    value.encode("utf-8")
    return value


def _matching(pattern: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError("not a code")
    return value
