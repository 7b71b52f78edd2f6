"""HTML and XHTML: what a reader would see, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.errors import CorruptError
from ingest.parsers.dates import parse_iso_date
from ingest.parsers.html_tables import table_rows
from ingest.parsers.part import Draft, Part, Source, code, heading, list_item, paragraph, table
from ingest.parsers.text_decoding import decode_text

# The tree builder's time grows with the square of the depth: 100,000 open tags take it 40 seconds.
MAX_DEPTH = 2_000

_HIDDEN = (
    "script, style, noscript, template, head > :not(title), svg, math annotation,"
    " iframe, object, select, [hidden], [aria-hidden=true], [style*='display:none'],"
    " [style*='display: none'], [style*='visibility:hidden'], [style*='visibility: hidden'],"
    " [style*='font-size:0'], [style*='mso-hide:all']"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    """
    address article aside blockquote body center dd details dialog div dl dt fieldset
    figcaption figure footer form frameset header hgroup hr html legend li main menu nav ol p
    section summary table tbody td tfoot th thead tr ul caption optgroup option
    """.split()  # noqa: SIM905  # thirty quoted words read worse
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# Tags whose end is implied or that have no content: left open, they do not deepen the tree.
_UNNESTED = frozenset(
    """
    area base br col embed hr img input link meta source track wbr p li dt dd td tr th thead
    tbody tfoot option colgroup html head body
    """.split()  # noqa: SIM905  # thirty quoted words read worse
)


def read(source: Source) -> Draft:
    """Title, headings, paragraphs, list items, tables and code; hidden text and navigation are left out."""
    return read_markup(decode_text(source.content))


def read_markup(markup: str) -> Draft:
    """As `read`, for markup already decoded.

    Raises:
        CorruptError: Nested too deeply.
    """
    _refuse_deep_nesting(markup)
    tree = LexborHTMLParser(markup)
    title = tree.css_first("head title") or tree.css_first("title")
    metadata = {"author": _meta(tree, "author"), "description": _meta(tree, "description")}
    modified_at = parse_iso_date(_meta(tree, "article:modified_time") or _meta(tree, "date"))
    title_text = title.text() if title is not None else ""
    for hidden in tree.css(_HIDDEN):
        hidden.decompose()
    body = tree.body or tree.root
    if body is not None:
        _drop_navigation(body)
    return Draft(_Walk().parts(body) if body is not None else (), title_text, modified_at, metadata)


def _drop_navigation(body: LexborNode) -> None:
    """Remove menus, which repeat on every page; not where they are all there is (a book's contents)."""
    inner = {node.mem_id for node in body.css(":is(nav, [role=navigation]) :is(nav, [role=navigation])")}
    menus = [node for node in body.css("nav, [role=navigation]") if node.mem_id not in inner]
    n_letters = sum(len(menu.text(strip=True)) for menu in menus)
    if len(body.text(strip=True)) > n_letters:
        for menu in menus:
            menu.decompose()


def _meta(tree: LexborHTMLParser, name: str) -> str:
    found = tree.css_first(f'meta[name="{name}"], meta[property="{name}"]')
    return (found.attributes.get("content") or "") if found is not None else ""


def _refuse_deep_nesting(markup: str) -> None:
    depth = 0
    for closing, name in _TAG.findall(markup):
        if name.lower() in _UNNESTED:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        if depth > MAX_DEPTH:
            raise CorruptError(f"the markup is nested more than {MAX_DEPTH} elements deep")


class _Walk:
    """Visits a tree without recursion and gathers inline text until a block begins or ends."""

    def __init__(self) -> None:
        self._inline: list[str] = []
        self._kind = ""

    def parts(self, root: LexborNode) -> Iterator[Part]:
        node: LexborNode | None = root
        while node is not None:
            yield from self._enter(node)
            whole = _is_whole(node)
            if not whole and node.first_child is not None:
                node = node.first_child
                continue
            yield from self._leave(node)
            while node is not None and node.mem_id != root.mem_id and node.next is None:
                node = node.parent
                if node is not None:
                    yield from self._leave(node)
            node = None if node is None or node.mem_id == root.mem_id else node.next
        yield from self._flush()

    def _enter(self, node: LexborNode) -> Iterator[Part]:
        tag = node.tag or ""
        if node.is_text_node:
            self._inline.append(_collapsed(node.text_content or ""))
        elif tag == "br":
            self._inline.append("\n")
        elif tag == "img":
            self._inline.append(f" {node.attributes.get('alt') or ''} ")
        elif tag in _HEADINGS or tag in ("table", "pre"):
            yield from self._flush()
            yield from _whole_part(node, tag)
        elif tag in _BLOCKS:
            yield from self._flush()
            self._kind = "li" if tag == "li" else self._kind

    def _leave(self, node: LexborNode) -> Iterator[Part]:
        tag = node.tag or ""
        if tag in _BLOCKS and not _is_whole(node):
            yield from self._flush()
            self._kind = "" if tag == "li" else self._kind

    def _flush(self) -> Iterator[Part]:
        text = "".join(self._inline)
        self._inline.clear()
        if text.strip():
            yield list_item(text) if self._kind == "li" else paragraph(text)
            self._kind = ""


def _is_whole(node: LexborNode) -> bool:
    """Whether the element becomes one part with all that is in it. A table with a table in it is layout."""
    tag = node.tag or ""
    return tag in _HEADINGS or tag == "pre" or (tag == "table" and not _is_layout(node))


def _is_layout(node: LexborNode) -> bool:
    """Whether a table only places things on the page: it holds tables, headings or lists, or one column."""
    return node.css_first("table table, h1, h2, h3, ul, ol, pre") is not None or (
        node.css_first("td + td, th + td, th + th, td + th") is None
    )


def _whole_part(node: LexborNode, tag: str) -> Iterator[Part]:
    if tag in _HEADINGS:
        yield heading(
            node.text(separator=" ") if node.css_first("br, div, p") else node.text(), _HEADINGS[tag]
        )
    elif tag == "pre":
        yield code(node.text())
    elif not _is_layout(node):
        caption = node.css_first("caption")
        if caption is not None and caption.text().strip():
            yield paragraph(caption.text(separator=" "))
        yield table(table_rows(node))


def _collapsed(text: str) -> str:
    return re.sub(r"[ \t\r\n\f]+", " ", text)
