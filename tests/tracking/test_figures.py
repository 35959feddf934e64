"""Inline SVG takes the page's colors and brings nothing of its own along."""

import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from segfw.tracking.figures import PAGE, dots, jitter, make_axes, set_title, to_svg


def drawn(title: str, name: str = "one") -> str:
    figure, (panel,) = make_axes(PAGE, (4, 2))
    set_title(panel, PAGE, title, "mm")
    panel.plot([0, 1], [0, 1], "o-", color=PAGE.series[0])
    return to_svg(figure, name, f"About {title}")


def test_colors_are_variables_and_nothing_is_loaded() -> None:
    svg = drawn("cost in $ & <b>")
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#0[0-9]{5}|https?:|<style|<script", svg)
    assert "cost in $ &amp; &lt;b" in svg
    assert 'aria-label="About cost in $ &amp; &lt;b' in svg
    root = ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))
    assert "width" not in root.attrib
    assert root.attrib["viewBox"] == "0 0 288 144"


def test_numbers_of_the_drawing_are_short_and_those_of_the_text_are_whole() -> None:
    figure, (panel,) = make_axes(PAGE, (4, 2))
    set_title(panel, PAGE, "rate 0.001234")
    panel.plot([0, 1], [0, 1 / 3], color=PAGE.series[0])
    svg = to_svg(figure, "short", "figure")
    assert "rate 0.001234" in svg
    assert not re.search(r'="[^"]*\.\d{3}', svg)


def test_dots_are_one_path() -> None:
    figure, (panel,) = make_axes(PAGE, (4, 2))
    few = len(to_svg(figure, "few", "figure"))
    dots(panel, list(range(100)), list(range(100)), PAGE.series[0])
    svg = to_svg(figure, "many", "figure")
    assert svg.count("M ") >= 100
    assert "stroke-linecap: round" in svg
    assert len(svg) - few < 100 * 45


def test_same_figure_same_text_and_identifiers_differ_between_figures() -> None:
    assert drawn("a") == drawn("a")
    first, second = (set(re.findall(r' id="([^"]+)"', drawn("a", name))) for name in ("one", "two"))
    assert first
    assert not first & second


@given(st.integers(0, 500))
def test_jitter_spreads_within_half(count: int) -> None:
    offsets = jitter(count)
    assert len(offsets) == count == len(set(offsets))
    assert all(-0.5 <= offset < 0.5 for offset in offsets)


def test_every_dot_of_many_is_drawn() -> None:
    figure, (panel,) = make_axes(PAGE, (4, 2))
    count = 150
    dots(panel, [float(number) for number in range(count)], [1.0] * count, PAGE.series[0])
    paths = re.findall(r'<path d="([^"]*)"[^>]*var\(--series-1\)', to_svg(figure, "dots", "Dots"))
    assert sum(path.count("M ") for path in paths) == count
