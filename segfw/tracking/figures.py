"""The look of every figure, and figures as PNG files or as SVG that follows a page's colors.

A figure is drawn with one of two palettes: `PAPER` has colors, `PAGE` has stand-ins that `to_svg` replaces by CSS
variables, so that one inline SVG serves light and dark pages. Figures are made without pyplot: no global state, no
display.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segfw.core.support.files import atomic_path

GOLDEN_RATIO = 0.6180339887
DPI = 140
DOTS_PER_PATH = 40


@dataclass(frozen=True)
class Palette:
    """Colors as #rrggbb: text, secondary text, grid lines, background, and the series in their order."""

    ink: str
    muted: str
    grid: str
    background: str
    series: tuple[str, ...]


PAPER = Palette(
    ink="#1f2933",
    muted="#66727f",
    grid="#e3e8ee",
    background="#ffffff",
    series=("#2563a8", "#d9622b", "#2f8f6b", "#8e5bb5", "#b8860b", "#c2487c"),
)
PAGE = Palette(
    ink="#010101",
    muted="#020202",
    grid="#030303",
    background="#040404",
    series=("#050501", "#050502", "#050503", "#050504", "#050505", "#050506"),
)
_VARIABLES = {
    PAGE.ink: "var(--ink)",
    PAGE.muted: "var(--muted)",
    PAGE.grid: "var(--grid)",
    PAGE.background: "var(--card)",
    **{color: f"var(--series-{number})" for number, color in enumerate(PAGE.series, 1)},
}
# what matplotlib writes for files of their own and a page does not need: style, fonts, fixed size, names of parts
_CLEANING = (
    (r"<metadata>.*?</metadata>|<style.*?</style>", ""),
    (r' id="[\w.]+_\d+"', ""),
    (r"font-family: [^;\"]*", "font-family: var(--font)"),
    (r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1"),
    (r' xmlns(:\w+)?="[^"]*"', ""),
)
_LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")


def make_axes(
    palette: Palette, size: tuple[float, float], columns: int = 1, heights: Sequence[float] = (1.0,)
) -> tuple[Figure, list[Axes]]:
    """Make a figure of `size` inches with a grid of styled axes, row by row; `heights` are the rows' relative ones."""
    figure = Figure(figsize=size, layout="constrained", facecolor=palette.background)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.03)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    axes = [panel for row in grid for panel in row]
    for panel in axes:
        style(panel, palette)
    return figure, axes


def style(panel: Axes, palette: Palette) -> None:
    """Give `panel` quiet axes: horizontal grid lines, no frame but the base line."""
    panel.set_facecolor(palette.background)
    panel.grid(axis="y", color=palette.grid, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=palette.muted, labelsize=8.5, length=0, pad=4)
    for side, spine in panel.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(palette.grid)


def set_title(panel: Axes, palette: Palette, title: str, unit: str = "") -> None:
    """Write the title over the left edge, with the unit in it, so that no vertical text is needed."""
    panel.set_title(plain(f"{title} ({unit})" if unit else title), loc="left", fontsize=10, color=palette.ink, pad=9)


def add_legend(panel: Axes, palette: Palette, place: Literal["upper right", "lower right"]) -> None:
    """Add a legend without a frame, in two columns when it is long."""
    columns = 2 if len(panel.get_legend_handles_labels()[1]) > 4 else 1
    panel.legend(loc=place, frameon=False, fontsize=8.5, labelcolor=palette.ink, ncols=columns, handlelength=1.4)


def dots(panel: Axes, x: Sequence[float], y: Sequence[float], color: str) -> None:
    """Draw points as the round ends of lines without length: a third of the text that markers take.

    Each path has fewer than 128 vertices, from which on matplotlib drops what has no length.
    """
    for begin in range(0, len(x), DOTS_PER_PATH):
        part = slice(begin, begin + DOTS_PER_PATH)
        across = [value for each in x[part] for value in (each, each, math.nan)]
        up = [value for each in y[part] for value in (each, each, math.nan)]
        panel.plot(across, up, color=color, alpha=0.5, linewidth=3, solid_capstyle="round")


def plain(text: str) -> str:
    """Return `text` such that matplotlib shows a dollar sign instead of beginning a formula."""
    return text.replace("$", r"\$")


def jitter(count: int) -> list[float]:
    """Return `count` offsets in [-0.5, 0.5) that spread evenly, always the same ones."""
    return [(number * GOLDEN_RATIO) % 1 - 0.5 for number in range(count)]


def to_png(figure: Figure, path: Path) -> None:
    """Write `figure` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Return `figure`, drawn with `PAGE`, as an `<svg>` element whose colors are the page's, without a ground.

    `name` keeps the identifiers of several figures on one page apart; `description` is read to those who do not see
    it. The same figure gives the same text.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nameless = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nameless, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for pattern, replacement in _CLEANING:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: _LONG_NUMBER.sub(r"\1", tag.group()), text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_attribute(description)}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
