"""From lines on pages to paragraphs, rows and headings. Pure: knows lines with places, nothing of PDF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from ingest.parsers.part import Part, heading, list_item, paragraph


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text and its box in points; y grows upwards, `size` is the height of the type."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    size: float
    is_bold: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its lines in the order the file gives them. `number` counts from 1."""

    number: int
    width: float
    height: float
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class _Style:
    """What body text looks like in this document, and which larger sizes its headings have."""

    body_size: float
    heading_sizes: tuple[float, ...]
    outline: Mapping[tuple[int, str], int]


_MIN_PAGES_FOR_FURNITURE = 3
_EDGE_SHARE = 0.12
_EDGE_LINES = 3
_REPEATED_SHARE = 0.5
_LARGER = 1.12
_MAX_HEADING_LINES = 4
_MAX_HEADING_CHARACTERS = 180
_FULL_SHARE = 0.82
# In type sizes per letter; running text has half of that.
_SPACED_WIDTH = 0.8

_NUMBERED = re.compile(
    r"(?:(?:chapter|section|appendix|part|kapitel|anhang)\s+)?(\d{1,2}(?:\.\d{1,2}){0,4}|[A-Z](?:\.\d{1,2})+)\.?\s+\S",
    re.I,
)
_BULLET = re.compile(
    r"\s*(?:[•‣◦▪●○■□–·∙\uf0b7\uf0a7]\s*|[-*]\s+|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.)]\s+)(?=\S)"
)
_SIGN_BULLET = re.compile(r"\s*(?:[•‣◦▪●○■□–·∙\uf0b7\uf0a7]\s*|[-*]\s+)")
_DIGITS = re.compile(r"\d+")
_SENTENCE_END = (".", ",", ";", ":", "。", "…")


def lay_out(pages: Sequence[Page], outline: Mapping[tuple[int, str], int]) -> Iterator[Part]:
    """Parts of a document, page after page.

    Args:
        pages: In order, with lines as the file gives them.
        outline: Level by (page number, heading without spaces in lower case), from the file's bookmarks.
    """
    pages = [replace(page, lines=_rows(_ordered(page))) for page in pages]
    furniture = _furniture(pages)
    bodies = [replace(page, lines=_without_furniture(page, furniture)) for page in pages]
    style = _style(bodies, outline)
    for page in bodies:
        for group in _groups(page.lines):
            yield from _group_parts(group, page, style)


def _ordered(page: Page) -> list[Line]:
    """Lines in reading order: the file's own, unless it jumps between two columns row by row."""
    middle = page.width / 2
    left = [line for line in page.lines if line.right < middle * 1.04]
    right = [line for line in page.lines if line.left > middle * 0.96]
    if min(len(left), len(right)) < 8 or len(left) + len(right) < 0.7 * len(page.lines):
        return page.lines
    sides = [
        line.left > middle * 0.96
        for line in page.lines
        if line.right < middle * 1.04 or line.left > middle * 0.96
    ]
    switches = sum(1 for before, after in pairwise(sides) if before != after)
    if switches < 0.4 * len(sides):
        return page.lines
    if median(len(line.text) for line in (*left, *right)) < 25:
        return page.lines  # short cells on both sides are a table, to be read across
    return _by_columns(page.lines, middle)


def _by_columns(lines: list[Line], middle: float) -> list[Line]:
    """Left column, then right, within each band between lines that cross the middle."""
    ordered: list[Line] = []
    left: list[Line] = []
    right: list[Line] = []
    for line in sorted(lines, key=lambda line: -line.top):
        if line.right < middle * 1.04:
            left.append(line)
        elif line.left > middle * 0.96:
            right.append(line)
        else:
            ordered += [*left, *right, line]
            left, right = [], []
    return [*ordered, *left, *right]


def _rows(lines: list[Line]) -> list[Line]:
    """Neighbours in the file's order that stand on one line of the page, made one: the cells of a row."""
    rows: list[Line] = []
    for line in lines:
        if rows and _on_one_row(rows[-1], line):
            before = rows[-1]
            rows[-1] = Line(
                f"{before.text} {line.text}",
                before.left,
                min(before.bottom, line.bottom),
                line.right,
                max(before.top, line.top),
                max(before.size, line.size),
                before.is_bold and line.is_bold,
            )
        else:
            rows.append(line)
    return rows


def _on_one_row(before: Line, line: Line) -> bool:
    overlap = min(before.top, line.top) - max(before.bottom, line.bottom)
    return (
        overlap > 0.3 * min(before.size, line.size)
        and line.left >= before.right - 1.0
        and before.size < 3 * line.size
    )


def _edge_lines(page: Page) -> list[Line]:
    by_height = sorted(page.lines, key=lambda line: -line.top)
    top = [line for line in by_height[:_EDGE_LINES] if line.bottom > page.height * (1 - _EDGE_SHARE)]
    bottom = [line for line in by_height[-_EDGE_LINES:] if line.top < page.height * _EDGE_SHARE]
    return [*top, *bottom]


def _furniture_key(line: Line) -> str:
    """A line with its numbers levelled: "Page 3 of 9" and "Page 4 of 9" are the same furniture."""
    return _DIGITS.sub("#", "".join(line.text.split()).lower())


def _furniture(pages: Sequence[Page]) -> frozenset[str]:
    """Running headers and footers: lines at the edge of at least half the pages, or of every other one."""
    if len(pages) < _MIN_PAGES_FOR_FURNITURE:
        return frozenset()
    counts = Counter(key for page in pages for key in {_furniture_key(line) for line in _edge_lines(page)})
    needed = max(_MIN_PAGES_FOR_FURNITURE, _REPEATED_SHARE * len(pages) * (0.8 if len(pages) > 6 else 1.0))
    return frozenset(key for key, count in counts.items() if count >= needed)


def _without_furniture(page: Page, furniture: frozenset[str]) -> list[Line]:
    if not furniture:
        return page.lines
    dropped = {id(line) for line in _edge_lines(page) if _furniture_key(line) in furniture}
    return [line for line in page.lines if id(line) not in dropped]


def _style(pages: Sequence[Page], outline: Mapping[tuple[int, str], int]) -> _Style:
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            weights[line.size] += len(line.text)
    body = weights.most_common(1)[0][0] if weights else 10.0
    # Neighbouring sizes are one level: justified type varies by half a point.
    sizes: list[float] = []
    for size in sorted((size for size in weights if size >= body * _LARGER), reverse=True):
        if not sizes or sizes[-1] - size > 0.75:
            sizes.append(size)
    return _Style(body, tuple(sizes[-5:]), outline)


def _groups(lines: list[Line]) -> Iterator[list[Line]]:
    """Lines that belong together: same type, close below each other, no new list item."""
    group: list[Line] = []
    for line in lines:
        if group and not _continues(group[-1], line):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _continues(before: Line, line: Line) -> bool:
    size = max(before.size, line.size)
    gap = before.bottom - line.top
    # Headings of several lines are set wider than text.
    widest = 0.9 if before.is_bold and line.is_bold else 0.55
    return (
        abs(before.size - line.size) <= 0.12 * size
        and before.is_bold == line.is_bold
        and -0.5 * size <= gap <= widest * size
        and not _BULLET.match(line.text)
        and min(before.right, line.right) > max(before.left, line.left)
    )


def _group_parts(group: list[Line], page: Page, style: _Style) -> Iterator[Part]:
    text = _joined(group)
    if level := _heading_level(group, text, page, style):
        yield heading(" ".join(text.split()), level, page.number)
    elif _BULLET.match(text):
        yield list_item(_SIGN_BULLET.sub("", text, count=1), page.number)
    else:
        yield paragraph(text, page.number)


def _heading_level(group: list[Line], text: str, page: Page, style: _Style) -> int:
    """The level of a heading, 0 for body text. The file's outline decides before size and weight do."""
    if len(group) > _MAX_HEADING_LINES or len(text) > _MAX_HEADING_CHARACTERS:
        return 0
    if known := style.outline.get((page.number, "".join(text.split()).lower())):
        return known
    letters = sum(1 for character in text if character.isalpha())
    if letters < 3 or letters < 0.4 * len(text) or text.endswith(_SENTENCE_END) or "@" in text:
        return 0
    size = max(line.size for line in group)
    is_larger = size >= style.body_size * _LARGER
    is_bold = all(line.is_bold for line in group) and size >= style.body_size * 0.95 and len(group) <= 2
    if not is_larger and not is_bold:
        return 0
    numbered = _NUMBERED.match(text)
    if numbered:
        return numbered.group(1).count(".") + 1
    if not is_larger:
        return min(len(style.heading_sizes) + 1, 6)
    return next(
        (rank for rank, known in enumerate(style.heading_sizes, 1) if size >= known - 0.75),
        len(style.heading_sizes),
    )


def _joined(group: list[Line]) -> str:
    """The lines as one text: full lines flow on, short ones keep their end, split words are closed."""
    right_edge = max(line.right for line in group)
    left_edge = min(line.left for line in group)
    pieces: list[str] = []
    for line, after in zip(group, [*group[1:], None], strict=True):
        if after is None:
            pieces.append(line.text)
        elif _is_split_word(line.text, after.text):
            pieces.append(line.text[:-1])
        elif _is_spaced(line) or _is_spaced(after):
            pieces.append(line.text + "\n")
        elif line.right - left_edge >= _FULL_SHARE * (right_edge - left_edge):
            pieces.append(line.text + " ")
        else:
            pieces.append(line.text + "\n")
    return "".join(pieces)


def _is_spaced(line: Line) -> bool:
    """Whether a line is so much wider than its letters that there are gaps in it: a row of a table."""
    n_halves = sum(2 if character >= "\u2e80" else 1 for character in line.text)
    return line.right - line.left > _SPACED_WIDTH * line.size * n_halves


def _is_split_word(text: str, after: str) -> bool:
    return len(text) > 2 and text[-1] in "-\u2010" and text[-2].islower() and after[:1].islower()
