"""OpenDocument text and EPUB books, written with the standard library alone."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from xml.sax.saxutils import escape as xml_escape

from .markup import Block, Heading, Listing, Paragraph, Source, Table
from .web import html_blocks
from .zips import pack_with_mimetype

ODT = "application/vnd.oasis.opendocument.text"
EPUB = "application/epub+zip"
NAMES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in (
        ("office", "office"),
        ("text", "text"),
        ("table", "table"),
        ("style", "style"),
        ("meta", "meta"),
        ("manifest", "manifest"),
        ("fo", "xsl-fo-compatible"),
    )
)
DUBLIN_CORE = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
CONTAINER = (
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)


def odt_file(source: Source) -> bytes:
    """An OpenDocument text with outline headings, lists and tables."""
    body = "".join(_odf_blocks(source.blocks))
    content = (
        f'<office:document-content {NAMES} office:version="1.2"><office:body><office:text>'
        f"{body}</office:text></office:body></office:document-content>"
    )
    entries = {"content.xml": content, "meta.xml": _odf_meta(source), "styles.xml": _odf_styles()}
    entries["META-INF/manifest.xml"] = _odf_manifest(sorted(entries))
    return pack_with_mimetype(ODT, {name: _encoded(text) for name, text in entries.items()})


def _encoded(text: str) -> bytes:
    return (DECLARATION + text).encode("utf-8")


def _odf_meta(source: Source) -> str:
    return (
        f'<office:document-meta {NAMES} {DUBLIN_CORE} office:version="1.2"><office:meta>'
        f"<dc:title>{xml_escape(source.title)}</dc:title><dc:creator>{xml_escape(source.author)}</dc:creator>"
        f"<dc:date>{source.date.isoformat()}</dc:date><dc:language>{source.language}</dc:language>"
        "</office:meta></office:document-meta>"
    )


def _odf_styles() -> str:
    headings = "".join(
        f'<style:style style:name="Heading_20_{level}" style:display-name="Heading {level}" '
        f'style:family="paragraph" style:default-outline-level="{level}">'
        f'<style:text-properties fo:font-size="{20 - 2 * level}pt" fo:font-weight="bold"/></style:style>'
        for level in range(1, 5)
    )
    return (
        f'<office:document-styles {NAMES} office:version="1.2">'
        f"<office:styles>{headings}</office:styles></office:document-styles>"
    )


def _odf_manifest(names: list[str]) -> str:
    files = "".join(
        f'<manifest:file-entry manifest:full-path="{name}" manifest:media-type="text/xml"/>' for name in names
    )
    return (
        f'<manifest:manifest {NAMES} manifest:version="1.2">'
        f'<manifest:file-entry manifest:full-path="/" manifest:version="1.2" manifest:media-type="{ODT}"/>'
        f"{files}</manifest:manifest>"
    )


def _odf_blocks(blocks: tuple[Block, ...]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        if isinstance(block, Heading):
            yield (
                f'<text:h text:style-name="Heading_20_{block.level}" text:outline-level="{block.level}">'
                f"{xml_escape(block.text)}</text:h>"
            )
        elif isinstance(block, Paragraph):
            yield _odf_paragraph(block.text)
        elif isinstance(block, Listing):
            items = (f"<text:list-item>{_odf_paragraph(item)}</text:list-item>" for item in block.items)
            yield f"<text:list>{''.join(items)}</text:list>"
        else:
            yield _odf_table(block, f"Table{number}")


def _odf_paragraph(text: str) -> str:
    return f"<text:p>{xml_escape(text)}</text:p>"


def _odf_table(table: Table, name: str) -> str:
    def row(texts: tuple[str, ...]) -> str:
        cells = (
            f'<table:table-cell office:value-type="string">{_odf_paragraph(text)}</table:table-cell>'
            for text in texts
        )
        return f"<table:table-row>{''.join(cells)}</table:table-row>"

    columns = f'<table:table-column table:number-columns-repeated="{len(table.rows[0])}"/>'
    head = f"<table:table-header-rows>{row(table.rows[0])}</table:table-header-rows>"
    rows = "".join(map(row, table.rows[1:]))
    return f'<table:table table:name="{name}">{columns}{head}{rows}</table:table>'


def epub_file(source: Source) -> bytes:
    """An EPUB 3 book: each level 1 heading starts a chapter file."""
    chapters = list(_chapters(source))
    entries = {
        f"OEBPS/chapter{number:02}.xhtml": _xhtml(source, title, "".join(html_blocks(blocks)))
        for number, (title, blocks) in enumerate(chapters, start=1)
    }
    items = "".join(
        f'<li><a href="chapter{number:02}.xhtml">{escape(title)}</a></li>'
        for number, (title, _) in enumerate(chapters, start=1)
    )
    navigation = f'<nav epub:type="toc"><h1>Contents</h1><ol>{items}</ol></nav>'
    entries["OEBPS/nav.xhtml"] = _xhtml(source, "Contents", navigation)
    entries["OEBPS/book.opf"] = _package(source, len(chapters))
    entries["META-INF/container.xml"] = CONTAINER
    return pack_with_mimetype(EPUB, {name: _encoded(text) for name, text in entries.items()})


def _chapters(source: Source) -> Iterator[tuple[str, list[Block]]]:
    blocks = list[Block]()
    title = source.title
    for block in source.blocks:
        if isinstance(block, Heading) and block.level == 1:
            if blocks:
                yield title, blocks
            title, blocks = block.text, []
        blocks.append(block)
    yield title, blocks


def _xhtml(source: Source, title: str, body: str) -> str:
    return (
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" '
        f'xml:lang="{source.language}"><head><title>{escape(title)}</title></head><body>{body}</body></html>'
    )


def _package(source: Source, chapters: int) -> str:
    names = [f"chapter{number:02}" for number in range(1, chapters + 1)]
    kind = 'media-type="application/xhtml+xml"'
    manifest = "".join(f'<item id="{name}" href="{name}.xhtml" {kind}/>' for name in names)
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    return (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        f'<metadata {DUBLIN_CORE}><dc:identifier id="id">{escape(source.meta["number"])}</dc:identifier>'
        f"<dc:title>{escape(source.title)}</dc:title><dc:creator>{escape(source.author)}</dc:creator>"
        f"<dc:language>{source.language}</dc:language>"
        f'<meta property="dcterms:modified">{source.date:%Y-%m-%dT%H:%M:%SZ}</meta></metadata>'
        f'<manifest><item id="nav" href="nav.xhtml" {kind} properties="nav"/>{manifest}</manifest>'
        f"<spine>{spine}</spine></package>"
    )
