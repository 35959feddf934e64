"""Figures of the report besides the training curves: what the dataset is like and how well its labels are found."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.tracking.figures import Palette, jitter, make_axes, plain, set_title

AXES = ("Z", "Y", "X")
MOST_POINTS = 400


def geometry_figure(fingerprint: Fingerprint, palette: Palette) -> Figure:
    """Draw each case's spacing, shape after cropping and extent along each axis; the bar is the median."""
    figure, panels = make_axes(palette, (12.0, 3.2), columns=3)
    extents = [
        [spacing * size for spacing, size in zip(*case, strict=True)]
        for case in zip(fingerprint.spacings, fingerprint.shapes_after_crop, strict=True)
    ]
    facts = (
        ("Spacing", "mm", fingerprint.spacings),
        ("Shape", "voxels", fingerprint.shapes_after_crop),
        ("Extent", "mm", extents),
    )
    for panel, (title, unit, rows) in zip(panels, facts, strict=True):
        set_title(panel, palette, title, unit)
        columns = list(zip(*rows, strict=True))
        for position, values in enumerate(columns):
            _strip(panel, position, values, palette, palette.series[position % len(palette.series)])
        panel.set_xticks(range(len(columns)), AXES[-len(columns) :] if columns else [])
        panel.set_xlim(-0.6, max(len(columns), 1) - 0.4)
        panel.set_ylim(0, 1.12 * max((float(v) for values in columns for v in values), default=1.0))
    return figure


def intensity_figure(channels: Sequence[str], intensities: Sequence[IntensityStatistics], palette: Palette) -> Figure:
    """Draw the foreground's intensities, a row per channel in its own unit.

    The bar goes from the 0.5th to the 99.5th percentile, the thin line from minimum to maximum within the panel, the
    tick is the median, the dot the mean.
    """
    heights = (1.0,) * max(len(intensities), 1)
    figure, panels = make_axes(palette, (12.0, 0.45 + 0.62 * len(heights)), heights=heights)
    for panel, channel, values in zip(panels, channels, intensities, strict=False):
        low, high = values.percentile_00_5, values.percentile_99_5
        margin = 0.06 * (high - low) or 1.0
        panel.grid(visible=False)
        panel.set_xlim(low - margin, high + margin)
        panel.plot([values.min, values.max], [0, 0], color=palette.muted, linewidth=1)
        panel.plot([low, high], [0, 0], color=palette.series[0], linewidth=9, alpha=0.45, solid_capstyle="butt")
        panel.plot([values.median] * 2, [-0.5, 0.5], color=palette.ink, linewidth=1.8)
        panel.plot([values.mean], [0], "o", color=palette.series[1], markersize=5)
        panel.set_ylim(-1, 1)
        panel.set_yticks([0], [plain(channel)], color=palette.ink, fontsize=9.5)
    return figure


def dice_figure(dice: Mapping[str, Sequence[float]], palette: Palette) -> Figure:
    """Draw the cases' Dice, a row per label: box (quartiles), median, whiskers (last case within 1.5 boxes).

    NaN (label neither there nor predicted) is left out. The scale ends at 1 and begins where the lowest case lies.
    """
    figure, (panel,) = make_axes(palette, (12.0, 0.8 + 0.46 * max(len(dice), 1)))
    known = [[value for value in values if not math.isnan(value)] for values in dice.values()]
    for position, values in enumerate(known):
        if values:
            _box(panel, position, values, palette)
    panel.grid(visible=False, axis="y")
    panel.grid(visible=True, axis="x", color=palette.grid, linewidth=0.8)
    panel.set_yticks(range(len(dice)), [plain(name) for name in dice], color=palette.ink, fontsize=9.5)
    panel.set_ylim(max(len(dice), 1) - 0.4, -0.6)
    lowest = min((value for values in known for value in values), default=0.0)
    panel.set_xlim(max(0.0, math.floor((lowest - 0.02) * 10) / 10), 1.005)
    return figure


def _strip(panel: Axes, position: int, values: Sequence[float], palette: Palette, color: str) -> None:
    """Draw one dot per case (at most `MOST_POINTS`, evenly chosen by rank, extremes included) and the median."""
    ordered = sorted(values)
    count = min(len(ordered), MOST_POINTS)
    shown = [ordered[round(i * (len(ordered) - 1) / max(count - 1, 1))] for i in range(count)]
    where = [position + 0.5 * offset for offset in jitter(count)]
    panel.scatter(where, shown, s=9, color=color, alpha=0.35, linewidths=0)
    if ordered:
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        panel.plot([position - 0.34, position + 0.34], [middle] * 2, color=palette.ink, linewidth=1.8)


def _box(panel: Axes, position: int, values: Sequence[float], palette: Palette) -> None:
    """Draw one label's row: a dot per case under a box."""
    color = palette.series[position % len(palette.series)]
    where = [position + 0.4 * offset for offset in jitter(len(values))]
    panel.scatter(values, where, s=9, color=color, alpha=0.4, linewidths=0)
    panel.boxplot(
        [values],
        positions=[position],
        widths=0.5,
        orientation="horizontal",
        showfliers=False,
        showcaps=False,
        manage_ticks=False,
        boxprops={"color": color, "linewidth": 1.3},
        whiskerprops={"color": color, "linewidth": 1.3},
        medianprops={"color": palette.ink, "linewidth": 1.8},
    )
