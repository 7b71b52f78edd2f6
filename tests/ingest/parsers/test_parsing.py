"""Dispatch, cleaning and refusals of `parse`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import (
    CorruptError,
    DocumentError,
    EmptyFileError,
    EncryptedError,
    ExpansionError,
    NoTextError,
    UnsupportedTypeError,
)
from ingest.language import detect_language
from ingest.media_types import detect_media_type
from ingest.parsers.archive import MAX_ENTRIES
from ingest.parsers.markdown import UNKNOWN_LABEL
from ingest.parsing import TEXT_TRUNCATED, parse
from tests.ingest.parsers.test_golden import FILES, check_promises

NAMES = ["a.txt", "a.md", "a.csv", "a.html", "a.rst", "a.eml", "a.xml", "a.rtf"]


def make_zip(**members: bytes) -> bytes:
    """A zip with these members; a double underscore in a name stands for a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def nested_zip(depth: int) -> bytes:
    """A zip in a zip in a zip."""
    return make_zip(**{"inner.zip": nested_zip(depth - 1)}) if depth > 1 else make_zip(text=b"hello")


@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [
        (b"<!doctype html><p>x", "report.pdf", "text/html"),
        (b"%PDF-1.7\n", "report.docx", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n....", "notes.txt", "image/png"),
        (b"a,b\n1,2\n", "x.csv", "text/csv"),
        (b"# Title\n", "x.md", "text/markdown"),
        (b"<h1 align=center>Tool</h1>\n\nText\n", "README.md", "text/markdown"),
        (b"<!-- note -->\n# Title\n", "x.md", "text/markdown"),
        (b"<!-- note -->\n<html><body>x</body></html>", "x", "text/html"),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "x", "application/xhtml+xml"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.html", "image/svg+xml"),
        (b"From: a@b.c\nTo: d@e.f\nSubject: x\n\nhello\n", "letter.txt", "message/rfc822"),
        (b"{\\rtf1 x}", "x.doc", "application/rtf"),
        ("Grüße".encode("utf-16"), "x.txt", "text/plain"),
        ("Only text here".encode("utf-16-le"), "x.txt", "text/plain"),
        (b"MZ is how this sentence begins", "x.txt", "text/plain"),
        (bytes(range(256)) * 4, "x.txt", "application/octet-stream"),
        (b"", "x.txt", "application/x-empty"),
    ],
)
def test_type_comes_from_the_bytes(content: bytes, name: str, media_type: str) -> None:
    """The name decides only between kinds of text."""
    assert detect_media_type(content, name) == media_type


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", EmptyFileError),
        (b"   \n\t ", NoTextError),
        (b"[" * 200_000, NoTextError),
        (b"\x89PNG\r\n\x1a\n", UnsupportedTypeError),
        (make_zip(readme=b"hello"), UnsupportedTypeError),
        (make_zip(word__document_xml=b"x"), UnsupportedTypeError),
        (make_zip(**{"word__document.xml": b"<broken"}), CorruptError),
        (make_zip(**{"word__document.xml": b"<w/>"})[:60], CorruptError),
        (make_zip(**{"xl__workbook.xml": b"0" * 30_000_000}), ExpansionError),
        (make_zip(**{f"f{number}": b"" for number in range(MAX_ENTRIES + 1)}), ExpansionError),
        (nested_zip(4), ExpansionError),
        (b"<html>" + b"<div>" * 100_000, CorruptError),
        (b"%PDF-1.7 nothing else", CorruptError),
        (
            make_zip(
                mimetype=b"application/vnd.oasis.opendocument.text",
                **{"META-INF__manifest.xml": b"<encryption-data/>", "content.xml": b"<x/>"},
            ),
            EncryptedError,
        ),
        (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "h"><!ENTITY b "&a;">]><x>&b;</x>', ExpansionError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
def test_refusals_name_their_cause(content: bytes, error: type[DocumentError]) -> None:
    """What cannot be taken in raises the error of its cause."""
    with pytest.raises(error):
        parse(content, name="file.bin")


def test_external_entities_stay_unread() -> None:
    """A file named by an XML entity is not in the text."""
    document = parse(
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
        b"<x>before &e; after</x>",
        name="x.xml",
    )
    assert document.text == "before after"


def test_text_is_cleaned() -> None:
    """Characters nobody sees go, composed characters come, joiners stay where a script needs them."""
    hidden = "re\u200bfund\u202e \U000e0041pol\u00adicy \ufeffu\u0308ber\x07 \u0645\u06cc\u200c\u062e"
    assert parse(hidden.encode(), name="x.txt").text == "refund policy über \u0645\u06cc\u200c\u062e"


@pytest.mark.parametrize(
    ("front_matter", "labels", "warnings"),
    [
        ("---\ntitle: T\nlabels: no-ai\n---\n", ("no-ai",), ()),
        (
            "---\nlabels: [No AI, 'retention:minutes']  # kept short\n---\n",
            ("no-ai", "retention:minutes"),
            (),
        ),
        ("---\nlabels:\n  - no-ai\n  - hold\ntags:\n  - x\n---\n", ("hold", "no-ai"), ()),
        ("---\nlabels:\n- hold\n---\n", ("hold",), ()),
        ('+++\nlabels = ["no-ai",\n  "hold"]\n+++\n', ("hold", "no-ai"), ()),
        ("---\nlabels: [no-ai, howto]\n---\n", ("no-ai",), (UNKNOWN_LABEL,)),
        ("---\nlabels:\n---\n", (), ()),
        ("---\ntags: [no-ai]\n---\n", (), ()),
        ("labels: no-ai\n\n", (), ()),
    ],
)
def test_front_matter_gives_labels(
    front_matter: str, labels: tuple[str, ...], warnings: tuple[str, ...]
) -> None:
    """In the forms of YAML and TOML; other names than labels are passed over with a warning."""
    document = parse(f"{front_matter}# Minutes\n\nWords of the meeting.\n".encode(), name="minutes.md")
    assert (document.labels, document.warnings) == (labels, warnings)
    check_promises(document)


def test_long_text_is_truncated_with_a_warning() -> None:
    """Text ends at the stated limit, and the document says so."""
    document = parse(b"one two three\n" * 200_000, name="x.txt")
    assert len(document.text) <= 2_000_000
    assert document.warnings == (TEXT_TRUNCATED,)
    check_promises(document)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings_are_found(encoding: str) -> None:
    """The same sentence comes out of every usual encoding."""
    sentence = "The café in Zürich opens at eight."
    assert parse(sentence.encode(encoding), name="x.txt").text == sentence


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The rules of the house are for all of us and they apply to you.", "en"),
        ("Die Regeln des Hauses sind für alle und werden nicht mit der Zeit besser.", "de"),
        ("Les règles de la maison sont pour tous et elles ne sont pas dans le bureau.", "fr"),
        ("Правила дома для всех, и они не как в другом доме, но это так.", "ru"),
        ("家の規則はみんなのためにあります。", "ja"),
        ("所有人都必须遵守公司的规定和制度。", "zh"),
        ("XK-12 40 mm 17 kg", "und"),
    ],
)
def test_language_is_told_or_left_open(text: str, code: str) -> None:
    """Common languages are recognised; a parts list is in none."""
    assert detect_language(text) == code


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(NAMES),
)
def test_any_bytes_end_in_a_promise_or_a_named_error(content: bytes, name: str) -> None:
    """Arbitrary bytes give a well-formed document or a document error, never anything else."""
    try:
        document = parse(content, name=name)
    except DocumentError:
        return
    check_promises(document)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_damaged_files_end_in_a_promise_or_a_named_error(path: Path) -> None:
    """Every golden file cut off or flipped at many places does no more harm than random bytes do."""
    content = path.read_bytes()
    step = max(1, len(content) // 12)
    for at in range(0, len(content), step):
        for damaged in (content[:at], content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]):
            try:
                document = parse(damaged, name=path.name)
            except DocumentError:
                continue
            check_promises(document)
