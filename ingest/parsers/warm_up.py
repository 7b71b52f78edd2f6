"""Small documents of our own, parsed once so that what libraries load on first use is loaded before a fork."""

from __future__ import annotations

import io

import docx
import pptx

_MARKUP = (
    "<html><body><h1>Warm start</h1><p>A first <b>sentence</b>.</p><ul><li>One</li></ul>{}</body></html>"
)
_TABLE = "<table><tr><th>Name</th><th>Number</th></tr><tr><td>One</td><td>1</td></tr></table>"
_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Resources<</Font<</F<</Type/Font/Subtype/Type1"
    b"/BaseFont/Helvetica>>>>>>/Contents 4 0 R>>endobj\n4 0 obj<</Length 44>>stream\n"
    b"BT /F 12 Tf 10 100 Td (A first sentence.) Tj ET\nendstream endobj\ntrailer<</Root 1 0 R>>\n"
)


def samples() -> dict[str, bytes]:
    """A document for each reader that loads or builds something on first use, by file name."""
    return {
        "warm.txt": b"A first sentence.\n",
        "warm.md": b"# Warm start\n\nA first *sentence*.\n\n- One\n",
        "warm.csv": b"name,number\none,1\n",
        "warm.html": _MARKUP.format(_TABLE).encode(),
        "warm.eml": b"From: a@example.org\nTo: b@example.org\nSubject: Warm\nDate: Mon, 5 Jan 2026 10:00:00 +0000\n"
        b"Content-Type: text/plain; charset=utf-8\n\nA first sentence.\n",
        "warm.rtf": rb"{\rtf1\ansi A first sentence.\par}",
        "warm.xml": b"<?xml version='1.0'?><book><title>Warm</title><para>A first sentence.</para></book>",
        "warm.pdf": _PDF,
        "warm.docx": _docx(),
        "warm.pptx": _pptx(),
    }


def _docx() -> bytes:
    document = docx.Document()
    document.add_heading("Warm start", 1)
    document.add_paragraph("A first sentence.")
    document.add_paragraph("One", style="List Bullet")
    table = document.add_table(1, 2)
    table.cell(0, 0).text = "Name"
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _pptx() -> bytes:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = "Warm start"
    slide.placeholders[1].text = "A first sentence."
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()
