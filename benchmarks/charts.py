"""Bar and line charts as SVG text. Pure; no library, so that a chart is the same bytes on every machine.

Colours and fonts read on light and dark pages alike: grey text, two hues that differ in lightness too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_OURS, _OTHER, _TEXT, _GRID = "#0b7a75", "#9aa5b1", "#6b7280", "#d1d5db"
_LINES = ("#0b7a75", "#c2571a", "#5b5fc7", "#8a8f98")
_FONT = "font-family='system-ui, sans-serif' font-size='12'"
_WIDTH, _LABELS, _VALUES, _BAR, _GAP, _TOP = 720, 230, 70, 18, 8, 34


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. `is_ours` sets it apart by colour."""

    label: str
    value: float
    is_ours: bool = False


def bars(title: str, unit: str, listed: Sequence[Bar]) -> str:
    """Horizontal bars from zero, in the order given, each with its value.

    Args:
        title: Stands above, with the unit.
        unit: Of every value; may be empty.
        listed: Values are 0 or more; without any the chart says so.
    """
    height = _TOP + max(len(listed), 1) * (_BAR + _GAP)
    longest = max((bar.value for bar in listed), default=0.0) or 1.0
    room = _WIDTH - _LABELS - _VALUES
    parts = [_text(4, 16, f"{title} ({unit})" if unit else title, bold=True)]
    for number, bar in enumerate(listed):
        top = _TOP + number * (_BAR + _GAP)
        length = round(room * bar.value / longest, 1)
        colour = _OURS if bar.is_ours else _OTHER
        parts += [
            _text(_LABELS - 8, top + 13, bar.label, anchor="end"),
            f"<rect x='{_LABELS}' y='{top}' width='{length}' height='{_BAR}' fill='{colour}'/>",
            _text(_LABELS + length + 6, top + 13, short(bar.value)),
        ]
    if not listed:
        parts.append(_text(4, _TOP + 13, "nothing was measured"))
    return _svg(title, height, parts)


def lines(title: str, x_name: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines over a logarithmic x axis, y from zero, one colour a series, named beside its last point.

    Args:
        series: Points (x above 0, y 0 or more) by name, in ascending order of x; at least one point in all.

    Raises:
        ValueError: There is no point, or an x that has no logarithm.
    """
    points = [point for listed in series.values() for point in listed]
    if not points or min(x for x, _ in points) <= 0:
        raise ValueError("a chart needs points with x above 0")
    left, right, top, bottom = 60, _WIDTH - 150, _TOP, 300
    low, high = math.log10(min(x for x, _ in points)), math.log10(max(x for x, _ in points))
    tallest = max(y for _, y in points) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(x) - low) / (high - low) if high > low else 0.5
        return round(left + share * (right - left), 1), round(bottom - y / tallest * (bottom - top), 1)

    parts = [_text(4, 16, f"{title} ({unit})", bold=True)]
    for step in range(5):
        y = tallest * step / 4
        _, at = place(points[0][0], y)
        parts.append(f"<line x1='{left}' y1='{at}' x2='{right}' y2='{at}' stroke='{_GRID}'/>")
        parts.append(_text(left - 8, at + 4, short(y), anchor="end"))
    named = sorted({x for x, _ in points})
    parts += [_text(place(x, 0)[0], bottom + 18, short(x), anchor="middle") for x in named]
    parts.append(_text((left + right) / 2, bottom + 38, x_name, anchor="middle"))
    for number, (name, listed) in enumerate(series.items()):
        colour = _LINES[number % len(_LINES)]
        placed = [place(x, y) for x, y in listed]
        drawn = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f"<polyline points='{drawn}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts += [f"<circle cx='{x}' cy='{y}' r='3' fill='{colour}'/>" for x, y in placed]
        if placed:
            parts.append(_text(placed[-1][0] + 8, placed[-1][1] + 4, name, fill=colour))
    return _svg(title, bottom + 48, parts)


def short(value: float) -> str:
    """A number to three significant digits, without an exponent; thousands as `k`, millions as `M`.

    >>> [short(value) for value in (0, 0.12345, 3.14159, 31.4, 314.159, 12_345, 300_000, 2_500_000)]
    ['0', '0.123', '3.14', '31.4', '314', '12.3k', '300k', '2.5M']
    """
    if value == 0:
        return "0"
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * 1e3 and abs(value) >= size:
            return short(value / size) + mark
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    shown = f"{value:.{digits}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, fill: str = _TEXT
) -> str:
    weight = " font-weight='600'" if bold else ""
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}' fill='{fill}'{weight}>{escape(text)}</text>"


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' width='{_WIDTH}' "
        f"height='{height}' role='img' aria-label='{escape(title, quote=True)}' {_FONT}>"
    )
    return "\n".join((head, *parts, "</svg>", ""))
