"""Word, PowerPoint and Excel files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import docx
import openpyxl
import pptx
from docx.document import Document as WordDocument
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet
from pptx.presentation import Presentation
from pptx.slide import Slide
from pptx.util import Inches, Pt

from .markup import Block, Heading, Listing, Paragraph, Source, Table
from .zips import repack_office

NOTES = "Notes:"
NUMERIC = re.compile(r"^-?\d+(\.\d+)?$")
WIDEST_COLUMN = 60
TITLE_LAYOUT, BODY_LAYOUT, TITLE_ONLY_LAYOUT = 0, 1, 5


def docx_file(source: Source) -> bytes:
    """A Word document with Heading styles, lists and tables."""
    document = docx.Document()
    properties = document.core_properties
    properties.title, properties.author = source.title, source.author
    properties.language = source.language
    properties.comments = ""
    properties.created = properties.modified = source.date
    for block in source.blocks:
        _add_to_word(document, block)
    buffer = io.BytesIO()
    document.save(buffer)
    return repack_office(buffer.getvalue(), _stamp(source))


def _stamp(source: Source) -> str:
    return source.date.strftime("%Y-%m-%dT%H:%M:%SZ")


def _add_to_word(document: WordDocument, block: Block) -> None:
    if isinstance(block, Heading):
        document.add_heading(block.text, level=block.level)
    elif isinstance(block, Paragraph):
        document.add_paragraph(block.text)
    elif isinstance(block, Listing):
        for item in block.items:
            document.add_paragraph(item, style="List Number" if block.ordered else "List Bullet")
    else:
        table = document.add_table(rows=len(block.rows), cols=len(block.rows[0]), style="Table Grid")
        for cells, texts in zip(table.rows, block.rows, strict=True):
            for cell, text in zip(cells.cells, texts, strict=True):
                cell.text = text


def xlsx_file(source: Source) -> bytes:
    """A workbook: each level 2 heading is a sheet, holding its notes and its table."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.worksheets[0])
    workbook.properties.title, workbook.properties.creator = source.title, source.author
    workbook.properties.created = source.date
    for name, blocks in _sections(source):
        _fill_sheet(workbook.create_sheet(name), blocks)
    buffer = io.BytesIO()
    workbook.save(buffer)
    return repack_office(buffer.getvalue(), _stamp(source))


def _sections(source: Source) -> Iterator[tuple[str, list[Block]]]:
    name, blocks = "", list[Block]()
    for block in source.blocks:
        if isinstance(block, Heading) and block.level <= 2:
            if name:
                yield name, blocks
            name, blocks = block.text, []
        else:
            blocks.append(block)
    yield name, blocks


def _fill_sheet(sheet: Worksheet, blocks: list[Block]) -> None:
    for block in blocks:
        if isinstance(block, Table):
            sheet.append(list(block.rows[0]))
            for cell in sheet[sheet.max_row]:
                cell.font = Font(bold=True)
            for row in block.rows[1:]:
                sheet.append([_value(text) for text in row])
            _set_widths(sheet, block)
        elif isinstance(block, Paragraph | Heading):
            sheet.append([block.text])


def _value(text: str) -> str | int | float | None:
    if not text:
        return None
    if not NUMERIC.match(text) or (text.startswith("0") and "." not in text and text != "0"):
        return text
    return float(text) if "." in text else int(text)


def _set_widths(sheet: Worksheet, table: Table) -> None:
    for number, column in enumerate(zip(*table.rows, strict=True), start=1):
        width = min(WIDEST_COLUMN, max(len(text) for text in column) + 2)
        sheet.column_dimensions[get_column_letter(number)].width = width


def pptx_file(source: Source) -> bytes:
    """A presentation: each level 2 heading is a slide; paragraphs starting `Notes:` are speaker notes."""
    deck = pptx.Presentation()
    properties = deck.core_properties
    properties.title, properties.author = source.title, source.author
    properties.last_modified_by = source.author
    properties.created = properties.modified = source.date
    _add_title_slide(deck, source)
    for name, blocks in _sections(source):
        _add_slide(deck, name, blocks)
    buffer = io.BytesIO()
    deck.save(buffer)
    return repack_office(buffer.getvalue(), _stamp(source))


def _add_title_slide(deck: Presentation, source: Source) -> None:
    slide = deck.slides.add_slide(deck.slide_layouts[TITLE_LAYOUT])
    slide.placeholders[0].text = source.title
    slide.placeholders[1].text = f"{source.author}, {source.date:%d %B %Y}"


def _add_slide(deck: Presentation, name: str, blocks: list[Block]) -> None:
    table = next((block for block in blocks if isinstance(block, Table)), None)
    layout = TITLE_ONLY_LAYOUT if table else BODY_LAYOUT
    slide = deck.slides.add_slide(deck.slide_layouts[layout])
    slide.placeholders[0].text = name
    texts = [text for block in blocks for text in _texts(block)]
    notes = [text.removeprefix(NOTES).strip() for text in texts if text.startswith(NOTES)]
    shown = [text for text in texts if not text.startswith(NOTES)]
    if table:
        _add_slide_table(slide, table)
    elif shown:
        slide.placeholders[1].text = "\n".join(shown)
    frame = slide.notes_slide.notes_text_frame if notes else None
    if frame is not None:
        frame.text = "\n".join(notes)


def _texts(block: Block) -> tuple[str, ...]:
    if isinstance(block, Paragraph | Heading):
        return (block.text,)
    return block.items if isinstance(block, Listing) else ()


def _add_slide_table(slide: Slide, table: Table) -> None:
    height = Inches(0.4 * len(table.rows))
    frame = slide.shapes.add_table(
        len(table.rows), len(table.rows[0]), Inches(0.5), Inches(1.6), Inches(9), height
    )
    for row, texts in enumerate(table.rows):
        for column, text in enumerate(texts):
            cell = frame.table.cell(row, column)
            cell.text = text
            for paragraph in cell.text_frame.paragraphs:
                paragraph.font.size = Pt(14)
