"""PDF, read by pdfium: text and type of each line; `pdf_layout` makes paragraphs and headings of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pypdfium2 as pdfium
from pypdfium2 import raw

from ingest.errors import CorruptError, EncryptedError
from ingest.parsers.dates import parse_pdf_date
from ingest.parsers.part import MAX_TEXT_CHARACTERS, Draft, Source
from ingest.parsers.pdf_layout import Line, Page, lay_out

MAX_PAGES = 20_000
PAGES_TRUNCATED = "pages_truncated"
PAGES_UNREADABLE = "pages_unreadable"

_BOLD_WEIGHT = 600
_SERIF_HYPHEN = "\x02"


def read(source: Source) -> Draft:
    """Headings, paragraphs and rows page by page; what repeats at the edges of most pages is left out.

    Raises:
        EncryptedError: The file opens only with a password.
        CorruptError: pdfium cannot open it.
    """
    try:
        document = pdfium.PdfDocument(source.content)
    except pdfium.PdfiumError as error:
        if error.err_code == raw.FPDF_ERR_PASSWORD or "assword" in str(error):
            raise EncryptedError("the PDF needs a password") from error
        if error.err_code == raw.FPDF_ERR_SECURITY or "ecurity" in str(error):
            raise EncryptedError("the PDF uses a protection that cannot be opened") from error
        raise CorruptError("the PDF cannot be opened") from error
    with document:
        pages, warnings = _read_pages(document, source)
        facts = document.get_metadata_dict(skip_empty=True)
        parts = lay_out(pages, _outline(document))
    return Draft(
        parts,
        _real_title(facts.get("Title", "")),
        parse_pdf_date(facts.get("ModDate", "") or facts.get("CreationDate", "")),
        {"author": facts.get("Author", "")},
        warnings,
    )


def _read_pages(document: pdfium.PdfDocument, source: Source) -> tuple[list[Page], tuple[str, ...]]:
    pages: list[Page] = []
    warnings: list[str] = []
    size = 0
    count = len(document)
    for number in range(1, count + 1):
        if number > MAX_PAGES or size > MAX_TEXT_CHARACTERS:
            warnings.append(PAGES_TRUNCATED)
            break
        source.beat()
        try:
            page = _read_page(document, number)
        except pdfium.PdfiumError:
            if PAGES_UNREADABLE not in warnings:
                warnings.append(PAGES_UNREADABLE)
            continue
        size += sum(len(line.text) for line in page.lines)
        pages.append(page)
    if count and not pages:
        raise CorruptError("no page of the PDF can be read")
    return pages, tuple(warnings)


def _read_page(document: pdfium.PdfDocument, number: int) -> Page:
    page = document[number - 1]
    text_page = page.get_textpage()
    try:
        width, height = page.get_size()
        return Page(number, width, height, list(_lines(text_page)))
    finally:
        text_page.close()
        page.close()


def _lines(text_page: pdfium.PdfTextPage) -> Iterator[Line]:
    """The page's lines as pdfium breaks them.

    One call gets all the text, three more per line its place and type: asking for every character,
    as most readers do, takes twenty times as long.
    """
    text = text_page.get_text_range(errors="replace")
    at = 0
    for raw_line in text.split("\r\n"):
        line = raw_line.rstrip()
        lead = len(line) - len(line.lstrip())
        if len(line) > lead:
            first = _char_index(text_page, at + lead)
            last = _char_index(text_page, at + len(line) - 1)
            yield _measured(text_page, line.strip(), first, last)
        at += len(raw_line) + 2


def _char_index(text_page: pdfium.PdfTextPage, text_index: int) -> int:
    return max(0, int(raw.FPDFText_GetCharIndexFromTextIndex(text_page, text_index)))


def _measured(text_page: pdfium.PdfTextPage, text: str, first: int, last: int) -> Line:
    left, bottom, _, top = _loose_box(text_page, first)
    _, end_bottom, right, end_top = _loose_box(text_page, last)
    middle = (first + last) // 2
    is_bold = all(_is_bold(text_page, index) for index in {first, middle})
    size = round(max(abs(top - bottom), 1.0) * 2) / 2
    has_hyphen = text.endswith((_SERIF_HYPHEN, "\ufffe"))
    return Line(
        text.rstrip("\x02\ufffe") + ("-" if has_hyphen else ""),
        left,
        min(bottom, end_bottom),
        max(right, left),
        max(top, end_top),
        size,
        is_bold,
    )


def _loose_box(text_page: pdfium.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    """A character's cell (left, bottom, right, top): as high as the type is, whatever the letter."""
    box = raw.FS_RECTF()
    if not raw.FPDFText_GetLooseCharBox(text_page, index, box):
        return 0.0, 0.0, 0.0, 0.0
    return box.left, box.bottom, box.right, box.top


def _is_bold(text_page: pdfium.PdfTextPage, index: int) -> bool:
    if raw.FPDFText_GetFontWeight(text_page, index) >= _BOLD_WEIGHT:
        return True
    name = ctypes.create_string_buffer(96)
    flags = ctypes.c_int()
    if not raw.FPDFText_GetFontInfo(text_page, index, name, 96, flags):
        return False
    lowered = name.value.lower()
    return any(
        word in lowered for word in (b"bold", b"black", b"heavy", b"cmbx", b"semibold", b"nimbussanl-bold")
    )


def _outline(document: pdfium.PdfDocument) -> dict[tuple[int, str], int]:
    """Bookmarks as (page number, title without spaces, lower case) -> level: the author's own headings."""
    outline: dict[tuple[int, str], int] = {}
    for bookmark in document.get_toc(max_depth=6):
        target = bookmark.get_dest()
        index = target.get_index() if target is not None else None
        title = "".join(bookmark.get_title().split()).lower()
        if index is not None and title:
            outline.setdefault((index + 1, title), bookmark.level + 1)
        if len(outline) > 5_000:
            break
    return outline


def _real_title(title: str) -> str:
    """The file's own title, unless it is a file name or what a program filled in."""
    lowered = title.strip().lower()
    is_filler = lowered.startswith(
        ("microsoft word -", "microsoft powerpoint -", "untitled", "powerpoint presentation")
    )
    is_file_name = lowered.endswith(
        (".doc", ".docx", ".pdf", ".dvi", ".tex", ".indd", ".xls", ".xlsx", ".ppt", ".pptx", ".qxd")
    )
    return "" if is_filler or is_file_name or len(lowered) < 3 else title
