"""Which label is taken for which, as a matrix of shares and a list of what is confused most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from segfw.core.labels import LabelSet
from segfw.core.scoring.label_confusion import Confusion
from segfw.tracking.figures import PAGE, Palette, make_axes, plain, to_svg
from segfw.tracking.page import figure, paragraph, table
from segfw.tracking.plots import WIDTH
from segfw.tracking.viewer import name_of_value

MOST_LABELS = 40
"""Of which the matrix is drawn; of more only the list is given."""
MOST_WITH_NUMBERS = 16
MOST_LISTED = 8
LEAST_COLUMNS = 7
"""For which the width is divided, so that squares of few labels are not drawn out."""
LEAST_SHARE = 0.0005
LONGEST_NAME = 24


@dataclass(frozen=True)
class ConfusionOf:
    """The confusion of a candidate's validation, over `num_cases` cases; None where it could not be had.

    `notes`: sentences on cases that are missing. `is_flat`: the images have pixels.
    """

    candidate: str
    confusion: Confusion | None
    num_cases: int
    notes: tuple[str, ...] = ()
    is_flat: bool = False


def confusion_section(found: ConfusionOf | None, labels: LabelSet) -> str:
    """Return the matrix and the list."""
    if found is None:
        return paragraph("No fold has been validated on whole cases yet.", quiet=True)
    if found.confusion is None:
        said = f"The label maps of {found.candidate} could not be compared: see the log."
        return "".join(paragraph(each, quiet=True) for each in (said, *found.notes))
    names = [name_of_value(value, labels) for value in found.confusion.values]
    shares = found.confusion.shares.tolist()
    cases = "1 case" if found.num_cases == 1 else f"{found.num_cases} cases"
    points = "pixel" if found.is_flat else "voxel"
    of_all = f"all {'' if labels.ignore_value is None else 'annotated '}{points}s of {cases}"
    parts = [paragraph(f"{found.candidate}, {of_all}, before postprocessing."), *map(paragraph, found.notes)]
    if len(names) <= MOST_LABELS:
        words = f"Share of each reference label's {points}s by predicted label, {found.candidate}"
        svg = to_svg(confusion_figure(names, shares, PAGE), "confusion", words)
        told = f"Rows: reference; columns: prediction. Percent of the row’s {points}s; blank below 0.05 %."
        parts.append(figure(svg, told))
    rows = largest_confusions(names, shares, found.confusion.counts)
    if rows:
        parts.append(table(("reference", "predicted", "share of the reference", f"{points}s"), rows))
    else:
        parts.append(paragraph(f"No {points} of a label is predicted to be of another.", quiet=True))
    if labels.has_regions:
        note = "Regions overlap, so what is compared are the values of the label maps, as the regions are painted."
        parts.append(paragraph(note, quiet=True))
    return "".join(parts)


def confusion_figure(names: Sequence[str], shares: Sequence[Sequence[float]], palette: Palette) -> Figure:
    """Draw a square per pair, the darker the larger its share of the row; a row of NaN stays empty."""
    count = len(names)
    figure, (panel,) = make_axes(palette, (WIDTH, min(max(1.3 + 0.42 * count, 2.4), 9.5)))
    panel.grid(visible=False)
    for row, values in enumerate(shares):
        for column, share in enumerate(values):
            if math.isnan(share) or share < LEAST_SHARE:
                continue
            color = palette.series[0] if row == column else palette.series[1]
            x, y = [column - 0.47, column + 0.47], [row - 0.45, row + 0.45]
            corners = [x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]]
            panel.fill(*corners, facecolor=color, alpha=0.08 + 0.5 * math.sqrt(share), linewidth=0)
            if count <= MOST_WITH_NUMBERS:
                text = "100" if share >= 0.9995 else f"{100 * share:.1f}"
                panel.text(column, row, text, ha="center", va="center", fontsize=9, color=palette.ink)
    short = [plain(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…") for name in names]
    turn = 0 if max(map(len, short)) <= 90 // max(count, LEAST_COLUMNS) else 60
    panel.set_xticks(range(count), short, rotation=turn, ha="center" if not turn else "left", color=palette.ink)
    panel.set_yticks(range(count), short, color=palette.ink)
    panel.xaxis.tick_top()
    panel.tick_params(labelsize=9 if count <= MOST_WITH_NUMBERS else 7.5)
    panel.set_xlim(-0.5, max(count, LEAST_COLUMNS) - 0.5)
    panel.set_ylim(count - 0.5, -0.5)
    for spine in panel.spines.values():
        spine.set_visible(False)
    return figure


def largest_confusions(
    names: Sequence[str], shares: Sequence[Sequence[float]], counts: Sequence[Sequence[int]]
) -> list[tuple[str, ...]]:
    """Return (reference, predicted, share, voxels) of what is confused most, by share of the reference's voxels.

    What background is taken for is left out: its share says more about the field of view than about the labels.
    """
    found = [
        (shares[i][j], names[i], names[j], counts[i][j])
        for i in range(1, len(names))
        for j in range(len(names))
        if i != j and counts[i][j]
    ]
    found.sort(key=lambda entry: -entry[0])
    return [(i, j, f"{100 * share:.2f} %", f"{voxels:,}") for share, i, j, voxels in found[:MOST_LISTED]]
