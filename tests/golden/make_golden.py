"""Writes the small files of this folder that no editor can write. Run once; their bytes are in git.

`fake-email.msg` is not made here: it is from the tests of `unstructured` (Apache-2.0).
"""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx

HERE = Path(__file__).parent

_ODT_CONTENT = """<?xml version="1.0"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"><office:body><office:text>
<text:h text:outline-level="1">Leave policy</text:h>
<text:p>Thirty days<text:s/>a year.<text:line-break/>Ask your lead.</text:p>
<text:list><text:list-item><text:p>Sick leave</text:p></text:list-item></text:list>
<table:table><table:table-row><table:table-cell><text:p>Kind</text:p></table:table-cell>
<table:table-cell><text:p>Days</text:p></table:table-cell></table:table-row>
<table:table-row><table:table-cell><text:p>Annual</text:p></table:table-cell>
<table:table-cell><text:p>30</text:p></table:table-cell></table:table-row></table:table>
</office:text></office:body></office:document-content>"""

_EPUB = {
    "META-INF/container.xml": """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>""",
    "OEBPS/book.opf": """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>Field guide</dc:title><dc:creator>A. Ranger</dc:creator></metadata>
<manifest><item id="two" href="2.xhtml"/><item id="one" href="1.xhtml"/></manifest>
<spine><itemref idref="one"/><itemref idref="two"/></spine></package>""",
    "OEBPS/1.xhtml": "<html><body><h1>Birds</h1><p>They sing at dawn.</p></body></html>",
    "OEBPS/2.xhtml": "<html><body><h1>Trees</h1><p>They stand all day.</p></body></html>",
}

_PDF_PAGE = """BT /F1 10 Tf 72 760 Td (Acme handbook) Tj ET
BT /F2 18 Tf 72 700 Td ({heading}) Tj ET
BT /F1 10 Tf 72 670 Td (Every expense report needs a receipt for each amount that is over) Tj
0 -12 Td (twenty-five euros; smaller amounts are reim-) Tj 0 -12 Td (bursed without one.) Tj ET
BT /F1 10 Tf 72 600 Td (Item) Tj 120 0 Td (Limit) Tj -120 -12 Td (Hotel) Tj 120 0 Td (140) Tj ET
BT /F1 9 Tf 290 30 Td (Page {number} of 3) Tj ET"""


def main() -> None:
    """Write every file."""
    _write_docx(HERE / "policy.docx")
    _write_pptx(HERE / "slides.pptx")
    _write_xlsx(HERE / "budget.xlsx")
    with zipfile.ZipFile(HERE / "leave.odt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", _ODT_CONTENT)
    with zipfile.ZipFile(HERE / "guide.epub", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        for name, text in _EPUB.items():
            archive.writestr(name, text)
    (HERE / "expenses.pdf").write_bytes(_pdf(["1 Travel", "2 Meals", "3 Approval"]))


def _write_docx(path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = "Security policy"
    document.core_properties.author = "IT"
    document.add_heading("Passwords", 1)
    document.add_paragraph("Use a password manager for every account.")
    document.add_heading("Length", 2)
    document.add_paragraph("At least sixteen characters", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("System", "Rotation", "Mail", "yearly"), strict=True):
        cell.text = text
    document.save(str(path))


def _write_pptx(path: Path) -> None:
    deck = pptx.Presentation()
    for title, body in (("Results", "Revenue grew by four per cent."), ("Outlook", "We hire ten people.")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    deck.slides[0].notes_slide.notes_text_frame.text = "Mention the new office."
    deck.save(str(path))


def _write_xlsx(path: Path) -> None:
    book = openpyxl.Workbook()
    plan = book.worksheets[0]
    plan.title = "Plan"
    plan.append(["Item", "Cost", "Due"])
    plan.append(["Chairs", 1200.5, datetime.date(2026, 3, 1)])
    book.create_sheet("Notes").append(["Signed off by finance"])
    hidden = book.create_sheet("Secret")
    hidden.append(["not shown"])
    hidden.sheet_state = "hidden"
    book.save(path)


def _pdf(headings: list[str]) -> bytes:
    n_pages = len(headings)
    kids = " ".join(f"{5 + 2 * i} 0 R" for i in range(n_pages))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {n_pages} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
    ]
    for number, heading in enumerate(headings, start=1):
        stream = _PDF_PAGE.format(heading=heading, number=number)
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842]"
            " /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >>"
            f" /Contents {4 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, offsets = "%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode("latin-1")


if __name__ == "__main__":
    main()
