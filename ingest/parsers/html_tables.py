"""Rows of an HTML table."""

from __future__ import annotations

from collections.abc import Iterator

from selectolax.lexbor import LexborNode

# A cell may claim to span millions of columns; nothing readable does.
MAX_SPAN = 50


def table_rows(found: LexborNode) -> Iterator[list[str]]:
    """The cells of each row, a spanning cell once and then empty cells to keep the columns apart.

    Cells of a table inside a table are read as text of the outer cell.
    """
    pending: dict[int, int] = {}
    for row in _own_rows(found):
        cells: list[str] = []
        for cell in _children(row):
            if cell.tag not in ("td", "th"):
                continue
            _skip_covered(cells, pending)
            rows, columns = _span(cell, "rowspan"), _span(cell, "colspan")
            for offset in range(columns):
                if rows > 1:
                    pending[len(cells)] = rows - 1
                cells.append(cell.text(separator=" ") if offset == 0 else "")
        _skip_covered(cells, pending)
        yield cells


def _skip_covered(cells: list[str], pending: dict[int, int]) -> None:
    """Put an empty cell wherever a cell of an earlier row reaches down."""
    while pending.get(len(cells), 0) > 0:
        pending[len(cells)] -= 1
        cells.append("")


def _span(cell: LexborNode, name: str) -> int:
    value = (cell.attributes.get(name) or "1").strip()
    return max(1, min(int(value), MAX_SPAN)) if value.isascii() and value.isdigit() else 1


def _own_rows(found: LexborNode) -> Iterator[LexborNode]:
    for child in _children(found):
        if child.tag == "tr":
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from (row for row in _children(child) if row.tag == "tr")


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        if child.is_element_node:
            yield child
        child = child.next
