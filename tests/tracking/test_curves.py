"""The drawing of a training: it shows what there is, whatever is missing."""

import gc
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.image import imread

from segfw.tracking.curves import curves_figure, draw_curves, folds_figure
from segfw.tracking.figures import PAPER
from tests.tracking.contents import curve_rows


@pytest.mark.parametrize("epochs", [0, 1, 30])
def test_writes_a_png_and_nothing_else(tmp_path: Path, epochs: int) -> None:
    path = tmp_path / "fold_0" / "training.png"
    draw_curves(curve_rows(epochs), path)
    picture = imread(path)
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1000
    assert [entry.name for entry in path.parent.iterdir()] == ["training.png"]


def test_replaces_an_older_drawing(tmp_path: Path) -> None:
    path = tmp_path / "training.png"
    draw_curves(curve_rows(2), path)
    before = path.read_bytes()
    draw_curves(curve_rows(30), path)
    assert path.read_bytes() != before


def test_draws_each_column_over_finished_epochs() -> None:
    rows = curve_rows(20)
    losses, dice, rate, seconds = curves_figure(rows, PAPER).axes
    lines = {line.get_label(): line for line in (*losses.lines, *dice.lines)}
    assert list(lines) == ["training", "validation", "liver & <bile>", r"tumor \$x\$", "mean", "moving average"]
    np.testing.assert_allclose(lines["validation"].get_ydata(), [row["val/loss"] for row in rows])
    np.testing.assert_allclose(lines["mean"].get_xdata(), range(1, 21))
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [row["lr"] for row in rows])
    assert seconds.get_ylim()[0] == 0


def test_leaves_gaps_where_a_value_is_missing() -> None:
    rows = [{"epoch": 0, "train/loss": 1.0}, {"epoch": 1, "train/loss": math.nan}, {"epoch": 3, "val/loss": 0.5}]
    losses, dice, _, _ = curves_figure(rows, PAPER).axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation"]
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), [1.0, math.nan, math.nan])
    np.testing.assert_array_equal(losses.lines[1].get_xdata(), [1, 2, 4])
    assert not dice.lines


def test_many_labels_are_not_drawn_one_by_one() -> None:
    rows = [{"epoch": 0, "val/patch_dice": 0.5, **{f"val/patch_dice/{number}": 0.5 for number in range(9)}}]
    assert [line.get_label() for line in curves_figure(rows, PAPER).axes[1].lines] == ["mean"]


def test_a_drawing_leaves_no_canvas_in_memory(tmp_path):
    gc.collect()
    before = sum(isinstance(each, RendererAgg) for each in gc.get_objects())
    draw_curves(curve_rows(3), tmp_path / "curves.png")
    assert sum(isinstance(each, RendererAgg) for each in gc.get_objects()) == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_the_limits_of_a_panel_are_finite_whatever_a_column_holds(value: float) -> None:
    rows = [{"epoch": 0, "lr": value, "seconds": value}]
    assert [panel.get_ylim() for panel in curves_figure(rows, PAPER).axes[2:]] == [(0, 1), (0, 1)]
    rows.append({"epoch": 1, "lr": 2.0, "seconds": 10.0})
    tops = [panel.get_ylim()[1] for panel in curves_figure(rows, PAPER).axes[2:]]
    assert tops == pytest.approx([2.2, 11.0])
    assert folds_figure({"0": rows}, PAPER).axes[3].get_ylim()[1] == pytest.approx(11.0)
