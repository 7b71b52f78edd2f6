"""Tells what a file is by looking at its bytes.

The name is only a hint where the bytes leave the type open: Markdown, CSV and reStructuredText are all
"some text" to a reader of bytes. A name never overrules what the bytes say, so HTML called `report.pdf`
is HTML.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection
from pathlib import PurePosixPath

import olefile

from ingest.parsers.archive import MAX_ENTRIES, declared_entries
from ingest.parsers.text_decoding import decode_text

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
XLS = "application/vnd.ms-excel"
ODT = "application/vnd.oasis.opendocument.text"
ODP = "application/vnd.oasis.opendocument.presentation"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
EPUB = "application/epub+zip"
MSG = "application/vnd.ms-outlook"
EML = "message/rfc822"
RTF = "application/rtf"
HTML = "text/html"
XHTML = "application/xhtml+xml"
XML = "application/xml"
MARKDOWN = "text/markdown"
CSV = "text/csv"
TSV = "text/tab-separated-values"
RST = "text/x-rst"
ORG = "text/org"
TEX = "application/x-tex"
JSON = "application/json"
YAML = "application/yaml"
PLAIN = "text/plain"
ENCRYPTED_OFFICE = "application/vnd.ms-office.encrypted"
OLE = "application/x-ole-storage"
ZIP = "application/zip"
TAR = "application/x-tar"
GZIP = "application/gzip"
BZIP2 = "application/x-bzip2"
XZ = "application/x-xz"
BINARY = "application/octet-stream"
EMPTY = "application/x-empty"

HEAD_BYTES = 65_536

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"{\\rtf", RTF),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\xd7\xcd\xc6\x9a", "image/wmf"),
    (b"\x01\x00\x00\x00\x58\x00\x00\x00", "image/emf"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x1a\x45\xdf\xa3", "video/x-matroska"),
    (b"\x1f\x8b", GZIP),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\x00", XZ),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"ITSF", "application/vnd.ms-htmlhelp"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"\x7fELF", "application/x-elf"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"%!PS", "application/postscript"),
    (b"-----BEGIN PKCS7", "application/pkcs7-mime"),
    (b"-----BEGIN PGP", "application/pgp-encrypted"),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d", "application/onenote"),
)

_RIFF_KINDS = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

# Directories and streams inside an OLE compound file; the first that is there decides.
_OLE_STREAMS: tuple[tuple[str, str], ...] = (
    ("EncryptedPackage", ENCRYPTED_OFFICE),
    ("__properties_version1.0", MSG),
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", XLS),
    ("Book", XLS),
    ("VisioDocument", "application/vnd.visio"),
    ("Quill", "application/vnd.ms-publisher"),
)

_ZIP_MEMBERS: tuple[tuple[str, str], ...] = (
    ("word/document.xml", DOCX),
    ("word/document2.xml", DOCX),
    ("ppt/presentation.xml", PPTX),
    ("xl/workbook.xml", XLSX),
    ("xl/workbook.bin", XLSB),
    ("visio/document.xml", "application/vnd.ms-visio.drawing.main+xml"),
    ("FixedDocSeq.fdseq", "application/vnd.ms-xpsdocument"),
    ("META-INF/container.xml", EPUB),
    ("Index/Document.iwa", "application/vnd.apple.iwork"),
    ("index.apxl", "application/vnd.apple.keynote"),
)

# The main part may have any name; its content type, listed in this member, says what it is.
_CONTENT_TYPES_MEMBER = "[Content_Types].xml"
_CONTENT_TYPES: tuple[tuple[bytes, str], ...] = (
    (b"wordprocessingml.document.main+xml", DOCX),
    (b"wordprocessingml.template.main+xml", DOCX),
    (b"ms-word.document.macroEnabled.main+xml", DOCX),
    (b"ms-word.template.macroEnabledTemplate.main+xml", DOCX),
    (b"presentationml.", PPTX),
    (b"ms-powerpoint.", PPTX),
    (b"spreadsheetml.", XLSX),
)

_ODF_TYPES = {
    ODT: ODT,
    ODT + "-template": ODT,
    ODT + "-master": ODT,
    ODP: ODP,
    ODP + "-template": ODP,
    ODS: ODS,
    ODS + "-template": ODS,
    EPUB: EPUB,
}

_TEXT_SUFFIXES = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".mdx": MARKDOWN,
    ".csv": CSV,
    ".tsv": TSV,
    ".tab": TSV,
    ".rst": RST,
    ".org": ORG,
    ".tex": TEX,
    ".latex": TEX,
    ".json": JSON,
    ".ndjson": JSON,
    ".jsonl": JSON,
    ".ipynb": JSON,
    ".yaml": YAML,
    ".yml": YAML,
    ".html": HTML,
    ".htm": HTML,
    ".eml": EML,
}

_XML_SUFFIXES = (".xml", ".fb2", ".opml", ".docbook", ".rss")

_HTML_START = re.compile(
    r"(?:<!doctype\s+html|<(?:html|head|body|title|table|div|p|h[1-6]|ul|ol|meta|script|article|section)\b)",
    re.I,
)
_XML_ROOT = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)[\s/>]")
_XML_PROLOGUE = re.compile(
    r"\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>\s*)*", re.S | re.I
)
_MAIL_HEADER = re.compile(
    r"(?:from|to|subject|date|received|return-path|mime-version|message-id|delivered-to|x-[\w-]+"
    r"|content-type|reply-to|cc|bcc|sender|dkim-signature|authentication-results|arc-[\w-]+):[ \t]",
    re.I,
)


def detect_media_type(content: bytes, name: str) -> str:
    """The IANA media type of a file, or a private `x-` type where IANA has none.

    Args:
        content: All of the file.
        name: Its file name; read only when the bytes are text of no particular kind.
    """
    if not content:
        return EMPTY
    head = content[:HEAD_BYTES]
    if b"%PDF-" in head[:1024] or (b" obj" in head and b"/Type" in head and b"endobj" in content):
        return PDF
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _zip_type(content)
    if head.startswith(olefile.MAGIC):
        return _ole_type(content)
    return _signature_type(head) or _text_type(head, name)


def _signature_type(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n") if head[:5] != b"{\\rtf" else head
    for signature, media_type in _SIGNATURES:
        if (start if signature == b"{\\rtf" else head).startswith(signature):
            return media_type if not _is_short_word(signature, head) else ""
    if head[:4] == b"RIFF":
        return _RIFF_KINDS.get(head[8:12], BINARY)
    if head[4:8] == b"ftyp":
        return "image/heic" if head[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "video/mp4"
    if head[257:262] == b"ustar":
        return TAR
    return ""


def _is_short_word(signature: bytes, head: bytes) -> bool:
    """Whether a two or three letter signature opens what is in fact readable text ("BM", "MZ", "ID3")."""
    return signature.isalnum() and len(signature) <= 3 and b"\x00" not in head[:512]


def _zip_type(content: bytes) -> str:
    if declared_entries(content) > MAX_ENTRIES:
        return ZIP
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = frozenset(archive.namelist())
            return _odf_type(archive, names) or _ooxml_type(archive, names) or ZIP
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError):
        return _damaged_zip_type(content)


def _odf_type(archive: zipfile.ZipFile, names: Collection[str]) -> str:
    if "mimetype" not in names or archive.getinfo("mimetype").file_size > 200:
        return ""
    declared = archive.read("mimetype").decode("ascii", "replace").strip()
    return _ODF_TYPES.get(declared, declared if declared.startswith("application/") else "")


def _ooxml_type(archive: zipfile.ZipFile, names: Collection[str]) -> str:
    # Windows tools have written back slashes and other letter case; both open in Office.
    plain = {name.replace("\\", "/").lower() for name in names}
    for member, media_type in _ZIP_MEMBERS:
        if member.lower() in plain:
            return media_type
    if _CONTENT_TYPES_MEMBER in names and archive.getinfo(_CONTENT_TYPES_MEMBER).file_size < 1_000_000:
        types = archive.read(_CONTENT_TYPES_MEMBER)
        return next((found for marker, found in _CONTENT_TYPES if marker in types), "")
    return ""


def _damaged_zip_type(content: bytes) -> str:
    """What a zip without a readable directory was: the names also stand before each member's bytes."""
    for member, media_type in _ZIP_MEMBERS:
        if member.encode("ascii") in content:
            return media_type
    for declared in (ODT, ODP, ODS, EPUB):
        if declared.encode("ascii") in content[:200]:
            return declared
    return next(
        (kind for folder, kind in ((b"word/", DOCX), (b"ppt/", PPTX), (b"xl/", XLSX)) if folder in content),
        ZIP,
    )


def _ole_type(content: bytes) -> str:
    try:
        with olefile.OleFileIO(content) as storage:
            top = {str(path[0]) for path in storage.listdir(streams=True, storages=True)}
    except (OSError, ValueError, IndexError, TypeError, AttributeError):
        top = {stream for stream, _ in _OLE_STREAMS if stream.encode("utf-16-le") in content}
    return next((media_type for stream, media_type in _OLE_STREAMS if stream in top), OLE)


def _text_type(head: bytes, name: str) -> str:
    text = decode_text(head)
    if _is_binary(text):
        return BINARY
    suffix = _suffix(name)
    return _markup_type(text, suffix) or _TEXT_SUFFIXES.get(suffix, "") or _plain_type(text, suffix)


def _is_binary(text: str) -> bool:
    """Whether so much of the text is control characters that no person wrote it."""
    controls = sum(1 for character in text if character < " " and character not in "\t\n\r\f\x1b\x08")
    broken = text.count("\ufffd")
    return (controls + broken) * 20 > max(len(text), 1)


def _markup_type(text: str, suffix: str) -> str:
    """What the first tag says; empty for text without one, and for Markdown that opens with an HTML block."""
    text = text.lstrip("\ufeff \t\r\n\x00")
    prologue = _XML_PROLOGUE.match(text)
    start = text[prologue.end() if prologue else 0 :][:1_000]
    is_declared = text.startswith("<?xml")
    root = _XML_ROOT.match(start)
    name = root.group(1).lower() if root else ""
    if name == "html":
        return XHTML if is_declared else HTML
    if name == "svg":
        return "image/svg+xml"
    if re.match(r"<!doctype\s+html", text, re.I):
        return HTML
    if is_declared or (name and text[:9].upper() == "<!DOCTYPE"):
        return XML
    return HTML if _HTML_START.match(start) and _TEXT_SUFFIXES.get(suffix, HTML) == HTML else ""


def _plain_type(text: str, suffix: str) -> str:
    lines = text.lstrip("\ufeff\r\n").splitlines()[:12]
    if lines and lines[0].startswith("From ") and sum(1 for line in lines if _MAIL_HEADER.match(line)) >= 2:
        return "application/mbox"
    if lines and _MAIL_HEADER.match(lines[0]) and sum(1 for line in lines if _MAIL_HEADER.match(line)) >= 3:
        return EML
    if lines and re.match(r"<[A-Za-z][\w:.-]*[\s>]", lines[0]) and suffix in _XML_SUFFIXES:
        return XML
    return PLAIN


def _suffix(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()
