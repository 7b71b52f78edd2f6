"""PDF documents with a text layer, an outline and page headers."""

from __future__ import annotations

from datetime import UTC

from fpdf import FPDF, FontFace
from fpdf.outline import OutlineSection, TableOfContents

from .markup import Block, Heading, Listing, Paragraph, Source, Table

SIZES = {1: 16.0, 2: 12.5, 3: 11.0, 4: 10.5}
BODY_SIZE = 10.0
LINE = 5.2
BOOK = "book"
A5 = (148.0, 210.0)


class Pages(FPDF):
    """An FPDF document that prints the title above and the page number below."""

    def __init__(self, source: Source) -> None:
        """Start the document, with its properties fixed."""
        book = source.meta.get("layout") == BOOK
        super().__init__(format=A5 if book else "A4")
        self.heading = f"{source.title} - {source.meta.get('number', 'uncontrolled when printed')}"
        margin = 16 if book else 22
        self.set_margins(margin, margin, margin)
        self.set_auto_page_break(True, margin)
        self.set_creation_date(source.date.replace(tzinfo=UTC))
        self.set_producer("Tarnvik document control")
        self.set_title(source.title)
        self.set_author(source.author)
        self.set_lang(source.language)
        self.alias_nb_pages()

    def header(self) -> None:
        """Print the title and the document number."""
        self.set_font("Helvetica", "I", 8)
        self.cell(0, LINE, self.heading, new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def footer(self) -> None:
        """Print the page number."""
        self.set_y(-12)
        self.set_font("Helvetica", "", 8)
        self.cell(0, LINE, f"Page {self.page_no()} of {{nb}}", align="C")


def pdf_file(source: Source) -> bytes:
    """A PDF; with `layout: book` each level 1 heading after the first starts a page after a contents list."""
    pages = Pages(source)
    book = source.meta.get("layout") == BOOK
    pages.add_page()
    seen_first = False
    for block in source.blocks:
        if isinstance(block, Heading) and block.level == 1 and book:
            if seen_first:
                _next_chapter(pages, source)
            seen_first = True
        _print(pages, block)
    return bytes(pages.output())


def _next_chapter(pages: Pages, source: Source) -> None:
    pages.add_page()
    if pages.page_no() == 2:
        pages.set_font("Helvetica", "", BODY_SIZE)
        count = int(source.meta["contents-pages"])
        pages.insert_toc_placeholder(_print_contents, pages=count, reset_page_indices=False)


def _print_contents(pages: FPDF, outline: list[OutlineSection]) -> None:
    TableOfContents().render_toc(pages, [section for section in outline if section.level == 0])


def _print(pages: Pages, block: Block) -> None:
    if isinstance(block, Heading):
        _print_heading(pages, block)
        return
    pages.set_font("Helvetica", "", BODY_SIZE)
    if isinstance(block, Paragraph):
        _print_lines(pages, block.text)
        pages.ln(2)
    elif isinstance(block, Listing):
        for number, item in enumerate(block.items, start=1):
            _print_lines(pages, f"{number}. {item}" if block.ordered else f"- {item}")
        pages.ln(2)
    else:
        _print_table(pages, block)
        pages.ln(3)


def _print_heading(pages: Pages, block: Heading) -> None:
    if pages.will_page_break(6 * LINE):
        pages.add_page()
    pages.ln(2)
    pages.set_font("Helvetica", "B", SIZES[block.level])
    pages.start_section(block.text, level=block.level - 1, strict=False)
    _print_lines(pages, block.text, SIZES[block.level] * 0.5)
    pages.ln(1)


def _print_lines(pages: Pages, text: str, height: float = LINE) -> None:
    pages.multi_cell(0, height, text, align="L", new_x="LMARGIN", new_y="NEXT")


def _print_table(pages: Pages, block: Table) -> None:
    pages.set_font("Helvetica", "", BODY_SIZE - 1)
    columns = zip(*block.rows, strict=True)
    widths = tuple(min(40, max(12, *(len(text) for text in column))) for column in columns)
    with pages.table(
        col_widths=widths, text_align="LEFT", line_height=LINE, headings_style=FontFace(emphasis="BOLD")
    ) as table:
        for texts in block.rows:
            row = table.row()
            for text in texts:
                row.cell(text)
