"""The curves of one training, from the rows of its `metrics.csv`."""

import gc
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segfw.tracking.figures import PAPER, Palette, add_legend, make_axes, plain, set_title, to_png

Rows = Sequence[Mapping[str, float]]

LABEL_PREFIX = "val/patch_dice/"
MOST_LABELS = 8
MARKED_EPOCHS = 12
MOST_EPOCHS = 250
"""Points of a curve on the page; of longer trainings each is a mean of several epochs."""


def draw_curves(rows: Rows, path: Path) -> None:
    """Draw a training to the PNG file `path`, replacing it at once.

    Columns of a row: `epoch` (0-based), `train/loss`, `val/loss`, `val/patch_dice`, `val/patch_dice_ema`,
    `val/patch_dice/<label>`, `lr`, `seconds`; what is missing or NaN leaves a gap. No rows give empty panels.
    """
    to_png(curves_figure(rows, PAPER), path)
    gc.collect()  # texts and their canvas, 6 MB, hold one another, and of so few objects the collector takes no notice


def curves_figure(rows: Rows, palette: Palette) -> Figure:
    """Draw losses, patch Dice, learning rate and epoch seconds, each in a panel over the finished epochs."""
    figure, (losses, dice, rate, seconds) = make_axes(palette, (10.0, 5.4), columns=2, heights=(2.0, 1.0))
    colors = palette.series
    set_title(losses, palette, "Loss")
    _plot(losses, rows, "train/loss", "training", colors[0], 1.6)
    _plot(losses, rows, "val/loss", "validation", colors[1], 1.6)
    _draw_dice(dice, rows, palette)
    set_title(rate, palette, "Learning rate")
    _plot(rate, rows, "lr", "", colors[0], 1.6)
    rate.set_ylim(0, _top(rows, "lr"))
    rate.yaxis.set_major_formatter("{x:g}")
    set_title(seconds, palette, "Time per epoch", "s")
    _plot(seconds, rows, "seconds", "", colors[0], 1.2)
    seconds.set_ylim(0, _top(rows, "seconds"))
    last = max((row["epoch"] + 1 for row in rows), default=1)
    for panel in (losses, dice, rate, seconds):
        panel.set_xlim(0, last * 1.02 if last > 1 else 2)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for panel in (rate, seconds):
        panel.yaxis.set_major_locator(MaxNLocator(3))
        panel.set_xlabel("finished epochs", fontsize=8.5, color=palette.muted)
    if losses.lines:
        add_legend(losses, palette, "upper right")
    if dice.lines:
        add_legend(dice, palette, "lower right")
    return figure


def folds_figure(folds: Mapping[str, Rows], palette: Palette) -> Figure:
    """Draw the trainings of several folds over one another, a color each: losses, patch Dice, and time per epoch."""
    figure, panels = make_axes(palette, (10.0, 5.6), columns=2, heights=(1.0, 1.0))
    columns = (
        ("Training loss", "", "train/loss"),
        ("Validation loss", "", "val/loss"),
        ("Dice of validation patches, moving average", "", "val/patch_dice_ema"),
        ("Time per epoch", "s", "seconds"),
    )
    last = max((row["epoch"] + 1 for rows in folds.values() for row in rows), default=1)
    for panel, (title, unit, key) in zip(panels, columns, strict=True):
        set_title(panel, palette, title, unit)
        for number, (name, rows) in enumerate(folds.items()):
            _plot(panel, rows, key, name, palette.series[number % len(palette.series)], 1.4, alpha=0.9)
        panel.set_xlim(0, last * 1.02 if last > 1 else 2)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(5))
    panels[2].set_ylim(0, 1)
    panels[3].set_ylim(0, _top([row for rows in folds.values() for row in rows], "seconds"))
    for panel in panels[2:]:
        panel.set_xlabel("finished epochs", fontsize=8.5, color=palette.muted)
    if panels[0].lines:
        add_legend(panels[0], palette, "upper right")
    return figure


def thinned(rows: Rows, most: int = MOST_EPOCHS) -> Rows:
    """Return at most `most` rows, each the mean of equally many epochs (the last of what is left), NaN left out."""
    size = -(-len(rows) // most)
    if size <= 1:
        return rows
    return [_mean(rows[begin : begin + size]) for begin in range(0, len(rows), size)]


def _top(rows: Rows, key: str) -> float:
    """Return the upper limit of a panel that shows a column from 0 on; 1 where it has no finite value above 0."""
    return 1.1 * max((row[key] for row in rows if 0 < row.get(key, math.nan) < math.inf), default=1 / 1.1)


def _mean(rows: Rows) -> dict[str, float]:
    """Average each column over rows; the epoch is that of the last."""
    found = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if not math.isnan(row.get(key, math.nan))]
        found[key] = sum(values) / len(values) if values else math.nan
    return {**found, "epoch": rows[-1]["epoch"]}


def _draw_dice(panel: Axes, rows: Rows, palette: Palette) -> None:
    """Draw the moving average over the mean of each epoch and, thin, the labels."""
    set_title(panel, palette, "Dice of validation patches")
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith(LABEL_PREFIX))
    labels = list(keys) if 1 < len(keys) <= MOST_LABELS else []
    for number, key in enumerate(labels):
        color = palette.series[(number + 2) % len(palette.series)]
        _plot(panel, rows, key, key.removeprefix(LABEL_PREFIX), color, 0.9, alpha=0.65)
    _plot(panel, rows, "val/patch_dice", "mean", palette.series[0], 1.1, alpha=0.8)
    _plot(panel, rows, "val/patch_dice_ema", "moving average", palette.series[1], 2.0)
    panel.set_ylim(0, 1)


def _plot(panel: Axes, rows: Rows, key: str, label: str, color: str, width: float, alpha: float = 1.0) -> None:
    """Draw one column against the number of finished epochs, with marks while there are few of them."""
    values = [row.get(key, math.nan) for row in rows]
    if all(math.isnan(value) for value in values):
        return
    epochs = [row["epoch"] + 1 for row in rows]
    marker = "o" if len(rows) <= MARKED_EPOCHS else None
    panel.plot(
        epochs, values, label=plain(label), color=color, linewidth=width, alpha=alpha, marker=marker, markersize=3
    )
