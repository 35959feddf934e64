"""What the report's figures show."""

import math
from dataclasses import replace

import numpy as np

from segfw.tracking.figures import PAPER
from segfw.tracking.plots import MOST_POINTS, dice_figure, geometry_figure, intensity_figure
from tests.tracking.contents import STATISTICS, full_content


def test_geometry_marks_the_median_of_every_axis() -> None:
    fingerprint = full_content(num_cases=7).fingerprint
    assert fingerprint is not None
    spacing, shape, extent = geometry_figure(fingerprint, PAPER).axes
    for panel, rows in ((spacing, fingerprint.spacings), (shape, fingerprint.shapes_after_crop)):
        np.testing.assert_allclose([line.get_ydata()[0] for line in panel.lines], np.median(rows, axis=0))
    assert extent.lines[2].get_ydata()[0] == 128 * 0.8


def test_geometry_of_many_cases_shows_a_choice_with_the_extremes() -> None:
    fingerprint = full_content(num_cases=3 * MOST_POINTS).fingerprint
    assert fingerprint is not None
    values = geometry_figure(fingerprint, PAPER).axes[0].collections[0].get_offsets()[:, 1]
    column = [row[0] for row in fingerprint.spacings]
    assert len(values) == MOST_POINTS
    assert (values.min(), values.max()) == (min(column), max(column))


def test_geometry_without_cases_is_empty() -> None:
    fingerprint = full_content().fingerprint
    assert fingerprint is not None
    figure = geometry_figure(replace(fingerprint, spacings=(), shapes_after_crop=()), PAPER)
    assert not any(panel.lines for panel in figure.axes)


def test_intensities_have_a_row_per_channel_even_when_constant() -> None:
    constant = replace(STATISTICS, percentile_00_5=3.0, percentile_99_5=3.0)
    first, second = intensity_figure(("CT", "PET"), (STATISTICS, constant), PAPER).axes
    assert first.get_yticklabels()[0].get_text() == "CT"
    assert first.get_xlim() == (-20 - 0.06 * 220, 200 + 0.06 * 220)
    assert second.get_xlim() == (2.0, 4.0)


def test_dice_leaves_out_what_is_undefined() -> None:
    panel = dice_figure({"a": (0.55, math.nan, 0.9), "b": (math.nan,)}, PAPER).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["a", "b"]
    (dots,) = panel.collections
    assert dots.get_offsets()[:, 0].tolist() == [0.55, 0.9]
    np.testing.assert_allclose(panel.get_xlim(), (0.5, 1.005))
