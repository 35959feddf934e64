"""Figures of the report besides the training curves: what the dataset is like and how well its labels are found."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segfw.core.plan import Fingerprint, IntensityStatistics, Plan
from segfw.tracking.figures import Palette, dots, jitter, make_axes, plain, set_title

AXES = ("Z", "Y", "X")
MOST_POINTS = 150
WIDTH = 10.0
"""Inches of every figure: on the page, whose text is set in 15 px, labels of 8.5 points come out at 12 px."""


def geometry_figure(fingerprint: Fingerprint, plan: Plan | None, palette: Palette) -> Figure:
    """Draw each case's spacing, shape after cropping and extent along each axis; the bar is the median.

    Triangles show what `plan` chose for each configuration: target spacing, and the patch in voxels and in millimetres.
    An axis along which every case has one voxel is left out.
    """
    axes = [axis for axis in range(3) if any(shape[axis] > 1 for shape in fingerprint.shapes_after_crop)]
    chosen = {} if plan is None else _chosen(plan)
    height = 3.1 + (0.3 if chosen else 0.0)
    figure, panels = make_axes(palette, (WIDTH, height), columns=3)
    cases = list(zip(fingerprint.spacings, fingerprint.shapes_after_crop, strict=True))
    facts = (
        ("Spacing", "mm", fingerprint.spacings),
        ("Shape", "voxels", fingerprint.shapes_after_crop),
        ("Extent", "mm", [[s * n for s, n in zip(*case, strict=True)] for case in cases]),
    )
    for number, (panel, (title, unit, rows)) in enumerate(zip(panels, facts, strict=True)):
        set_title(panel, palette, title, unit)
        for position, axis in enumerate(axes):
            _strip(panel, position, [row[axis] for row in rows], palette, palette.series[0])
        marks = {name: by_axis[number] for name, by_axis in chosen.items()}
        _mark(panel, axes, marks, palette)
        panel.set_xticks(range(len(axes)), [AXES[axis] for axis in axes])
        panel.set_xlim(-0.5, max(len(axes), 1) - 0.5 + 0.1 * max(len(chosen) - 1, 0))
        drawn = [float(row[axis]) for row in rows for axis in axes]
        planned = [value for by_axis in marks.values() for value in by_axis.values()]
        panel.set_ylim(0, 1.12 * max((*drawn, *planned), default=1.0))
    if chosen:
        names = panels[0].get_legend_handles_labels()
        figure.legend(
            *names,
            loc="outside lower left",
            ncols=len(chosen),
            frameon=False,
            fontsize=8.5,
            labelcolor=palette.ink,
            handletextpad=0.2,
            columnspacing=1.4,
        )
    return figure


def _chosen(plan: Plan) -> dict[str, tuple[dict[int, float], dict[int, float], dict[int, float]]]:
    """Return, per configuration, spacing, patch in voxels and patch in mm by axis of the image (Z, Y, X)."""
    chosen = {}
    for name, configuration in plan.configurations.items():
        if configuration.previous_stage is None:
            axes = plan.transpose_forward[-len(configuration.spacing) :]
            spacing, patch = configuration.spacing, configuration.patch_size
            extent = [s * n for s, n in zip(spacing, patch, strict=True)]
            facts = (spacing, patch, extent)
            by_axis = [{a: float(v) for a, v in zip(axes, values, strict=True)} for values in facts]
            chosen[name] = (by_axis[0], by_axis[1], by_axis[2])
    return chosen


def _mark(panel: Axes, axes: Sequence[int], marks: Mapping[str, Mapping[int, float]], palette: Palette) -> None:
    """Point at the planned values from the right of each axis' dots, in a color per configuration."""
    for number, (name, by_axis) in enumerate(marks.items()):
        offset = 0.36 + 0.1 * number
        points = [(axes.index(axis) + offset, value) for axis, value in by_axis.items() if axis in axes]
        color = palette.series[1 + number % (len(palette.series) - 1)]
        x, y = [x for x, _ in points], [y for _, y in points]
        panel.plot(x, y, "<", color=color, markersize=6, linestyle="none", label=plain(name), alpha=0.9)


def intensity_figure(channels: Sequence[str], intensities: Sequence[IntensityStatistics], palette: Palette) -> Figure:
    """Draw the foreground's intensities, a row per channel in its own unit.

    The bar goes from the 0.5th to the 99.5th percentile, the thin line from minimum to maximum within the panel, the
    tick is the median, the dot the mean.
    """
    heights = (1.0,) * max(len(intensities), 1)
    figure, panels = make_axes(palette, (WIDTH, 0.45 + 0.62 * len(heights)), heights=heights)
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


def boxes_figure(metrics: Mapping[str, Mapping[str, Sequence[float]]], palette: Palette) -> Figure:
    """Draw the cases' values, a panel per metric and a row per label: box (quartiles), median, whiskers.

    `metrics`: title -> label -> values. NaN (label neither there nor predicted) is left out; whiskers reach the last
    case within 1.5 boxes. A scale of shares ends at 1, one of millimetres (named so in the title) begins at 0.
    """
    names = list(next(iter(metrics.values()), {}))
    count = max(len(names), 1)
    figure, panels = make_axes(palette, (WIDTH, 0.95 + 0.46 * count), columns=max(len(metrics), 1))
    for number, (panel, (title, values)) in enumerate(zip(panels, metrics.items(), strict=False)):
        known = [[value for value in values.get(name, ()) if math.isfinite(value)] for name in names]
        for position, each in enumerate(known):
            if each:
                _box(panel, position, each, palette)
        set_title(panel, palette, title)
        panel.grid(visible=False, axis="y")
        panel.grid(visible=True, axis="x", color=palette.grid, linewidth=0.8)
        labels = [plain(name) for name in names] if number == 0 else [""] * len(names)
        panel.set_yticks(range(len(names)), labels, color=palette.ink, fontsize=9.5)
        panel.set_ylim(count - 0.4, -0.6)
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        lowest = min((value for each in known for value in each), default=0.0)
        highest = max((value for each in known for value in each), default=1.0)
        if "(mm)" in title:
            panel.set_xlim(0.0, 1.05 * highest or 1.0)
        else:
            panel.set_xlim(max(0.0, math.floor((lowest - 0.02) * 10) / 10), 1.005)
    return figure


def _strip(panel: Axes, position: int, values: Sequence[float], palette: Palette, color: str) -> None:
    """Draw one dot per case (at most `MOST_POINTS`, evenly chosen by rank, extremes included) and the median."""
    ordered = sorted(values)
    shown = _by_rank(ordered)
    where = [position + 0.4 * offset for offset in jitter(len(shown))]
    dots(panel, where, shown, color)
    if ordered:
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        panel.plot([position - 0.26, position + 0.26], [middle] * 2, color=palette.ink, linewidth=1.8)


def _by_rank(ordered: Sequence[float]) -> list[float]:
    """Return at most `MOST_POINTS` of ascending values, evenly chosen by rank, extremes included."""
    count = min(len(ordered), MOST_POINTS)
    return [ordered[round(i * (len(ordered) - 1) / max(count - 1, 1))] for i in range(count)]


def _box(panel: Axes, position: int, values: Sequence[float], palette: Palette) -> None:
    """Draw one label's row: a dot per case (as many as `_strip` draws) under a box of all."""
    color = palette.series[position % len(palette.series)]
    shown = values if len(values) <= MOST_POINTS else _by_rank(sorted(values))
    where = [position + 0.4 * offset for offset in jitter(len(shown))]
    dots(panel, shown, where, color)
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
