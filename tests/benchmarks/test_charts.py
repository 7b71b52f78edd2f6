"""Charts are well-formed, to scale, and say what they were given."""

from __future__ import annotations

import doctest
from xml.etree import ElementTree as ET

import pytest

import benchmarks.charts
from benchmarks.charts import Bar, bars, lines

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(drawn: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(drawn).iter(f"{_SVG}text")]


def test_examples_in_the_docstrings_hold() -> None:
    """The module's doctests pass."""
    assert doctest.testmod(benchmarks.charts).failed == 0


def test_bars_are_to_scale_and_ours_stands_out() -> None:
    """Twice the value, twice the length; zero has no length; one colour is ours."""
    drawn = ET.fromstring(bars("Rate", "1/s", [Bar("a", 2.0), Bar("b", 4.0, is_ours=True), Bar("c", 0.0)]))
    rectangles = list(drawn.iter(f"{_SVG}rect"))
    widths = [float(each.attrib["width"]) for each in rectangles]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert widths[2] == 0
    assert rectangles[0].attrib["fill"] == rectangles[2].attrib["fill"] != rectangles[1].attrib["fill"]


def test_labels_are_text_not_markup() -> None:
    """Whatever characters they hold."""
    drawn = bars("A & B's <title>", "", [Bar("<b>'bold'</b>", 1.0)])
    assert _texts(drawn)[:2] == ["A & B's <title>", "<b>'bold'</b>"]


def test_a_chart_of_nothing_says_so() -> None:
    """No division by zero either."""
    assert "nothing was measured" in _texts(bars("Rate", "1/s", []))
    assert "0" in _texts(bars("Rate", "1/s", [Bar("a", 0.0)]))


def test_lines_rise_with_their_values_over_a_logarithmic_axis() -> None:
    """A hundredfold lies in the middle of a ten-thousandfold; larger values lie higher."""
    drawn = ET.fromstring(lines("Search", "chunks", "ms", {"p50": [(1, 1.0), (100, 2.0), (10_000, 4.0)]}))
    line = next(drawn.iter(f"{_SVG}polyline")).attrib["points"]
    (x1, y1), (x2, y2), (x3, y3) = [tuple(map(float, point.split(","))) for point in line.split()]
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.2)
    assert y1 > y2 > y3
    assert (y1 - y2) / (y1 - y3) == pytest.approx(1 / 3, abs=0.01)


def test_a_single_point_is_drawn() -> None:
    """One size measured is a chart too."""
    assert "10k" in _texts(lines("Search", "chunks", "ms", {"p50": [(10_000, 3.0)]}))


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0.0, 1.0)]}])
def test_lines_need_points_with_a_logarithm(series: dict[str, list[tuple[float, float]]]) -> None:
    """Refused by name, not by a failing logarithm."""
    with pytest.raises(ValueError, match="above 0"):
        lines("Search", "chunks", "ms", series)
