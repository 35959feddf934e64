"""What the report's figures show."""

import math
from dataclasses import replace

import numpy as np

from segfw.tracking.figures import DOTS_PER_PATH, PAPER
from segfw.tracking.plots import MOST_POINTS, boxes_figure, geometry_figure, intensity_figure
from tests.tracking.contents import STATISTICS, full_content


def drawn(line):
    """Return the y of what is drawn, without the gaps between dots."""
    values = np.asarray(line.get_ydata(), float)
    return values[~np.isnan(values)]


def dots_and_medians(panel):
    """Split the lines of a panel without triangles: two for each axis."""
    return [drawn(line) for line in panel.lines[0::2]], [drawn(line)[0] for line in panel.lines[1::2]]


def test_geometry_marks_the_median_of_every_axis() -> None:
    fingerprint = full_content(num_cases=7).fingerprint
    assert fingerprint is not None
    spacing, shape, extent = geometry_figure(fingerprint, None, PAPER).axes
    for panel, rows in ((spacing, fingerprint.spacings), (shape, fingerprint.shapes_after_crop)):
        np.testing.assert_allclose(dots_and_medians(panel)[1], np.median(rows, axis=0))
    assert dots_and_medians(extent)[1][2] == 128 * 0.8


def test_geometry_of_many_cases_shows_a_choice_with_the_extremes() -> None:
    fingerprint = full_content(num_cases=3 * MOST_POINTS).fingerprint
    assert fingerprint is not None
    lines = geometry_figure(fingerprint, None, PAPER).axes[0].lines
    paths = -(-MOST_POINTS // DOTS_PER_PATH)  # of the first axis, whose dots come first
    values = np.concatenate([drawn(line) for line in lines[:paths]])
    column = [row[0] for row in fingerprint.spacings]
    assert len(values) == 2 * MOST_POINTS  # each dot is a line of two equal ends
    assert (values.min(), values.max()) == (min(column), max(column))


def triangles(panel):
    marks = panel.lines[6:]  # after dots and medians
    return {line.get_label(): np.round([line.get_xdata(), line.get_ydata()], 9).tolist() for line in marks}


def test_geometry_points_at_what_the_plan_chose_in_the_images_order_of_axes() -> None:
    content = full_content(num_cases=3)
    assert content.fingerprint is not None
    assert content.plan is not None
    solid = content.plan.configuration("3d_fullres")
    strides, kernels = ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3
    flat = replace(solid, spacing=(0.7, 0.9), patch_size=(32, 64), strides=strides, kernel_sizes=kernels)
    both = {"2d": flat, "3d_fullres": solid}
    plan = replace(content.plan, configurations=both, transpose_forward=(2, 0, 1), transpose_backward=(1, 2, 0))
    spacing, shape, extent = geometry_figure(content.fingerprint, plan, PAPER).axes
    # planned axes are X, Z, Y; 2d sees Z and Y; the second configuration stands farther right
    assert triangles(spacing) == {"2d": [[0.36, 1.36], [0.7, 0.9]], "3d_fullres": [[2.46, 0.46, 1.46], [1.5, 0.8, 0.8]]}
    assert triangles(shape)["3d_fullres"][1] == [32, 64, 64]
    assert triangles(extent)["2d"][1] == [0.7 * 32, 0.9 * 64]


def test_geometry_leaves_out_an_axis_of_single_slices() -> None:
    fingerprint = full_content(num_cases=2).fingerprint
    assert fingerprint is not None
    flat = replace(fingerprint, spacings=((999.0, 1.0, 1.0),) * 2, shapes_after_crop=((1, 64, 64),) * 2)
    spacing = geometry_figure(flat, None, PAPER).axes[0]
    assert [text.get_text() for text in spacing.get_xticklabels()] == ["Y", "X"]
    assert spacing.get_ylim()[1] < 2


def test_geometry_without_cases_is_empty() -> None:
    fingerprint = full_content().fingerprint
    assert fingerprint is not None
    figure = geometry_figure(replace(fingerprint, spacings=(), shapes_after_crop=()), None, PAPER)
    assert not any(panel.lines for panel in figure.axes)


def test_intensities_have_a_row_per_channel_even_when_constant() -> None:
    constant = replace(STATISTICS, percentile_00_5=3.0, percentile_99_5=3.0)
    first, second = intensity_figure(("CT", "PET"), (STATISTICS, constant), PAPER).axes
    assert first.get_yticklabels()[0].get_text() == "CT"
    assert first.get_xlim() == (-20 - 0.06 * 220, 200 + 0.06 * 220)
    assert second.get_xlim() == (2.0, 4.0)


def test_dice_leaves_out_what_is_undefined() -> None:
    panel = boxes_figure({"Dice": {"a": (0.55, math.nan, 0.9), "b": (math.nan,)}}, PAPER).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["a", "b"]
    shown = np.asarray(panel.lines[0].get_xdata(), float)
    assert shown[~np.isnan(shown)].tolist() == [0.55, 0.55, 0.9, 0.9]
    np.testing.assert_allclose(panel.get_xlim(), (0.5, 1.005))
