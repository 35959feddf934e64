"""Scores of two folders, by hand."""

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.types import Geometry
from segfw.io.formats.readers import write_label
from segfw.stages.evaluate import evaluate

GRID = Geometry((1.0,) * 3, (0.0,) * 3, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


def write(folder, name, row):
    folder.mkdir(exist_ok=True)
    write_label(folder / f"{name}.nii.gz", np.array(row, np.uint8).reshape(1, 1, -1), GRID)


def test_dice_by_hand(tmp_path):
    write(tmp_path / "p", "a", [1, 1, 0, 2])
    write(tmp_path / "r", "a", [1, 0, 0, 2])
    write(tmp_path / "p", "b", [1, 0, 0, 0])
    write(tmp_path / "r", "b", [1, 0, 0, 0])
    summary = evaluate(tmp_path / "p", tmp_path / "r", workers=0)
    # label 1: 2*1/(2*1+1) = 2/3 and 1; label 2: 1 in case a, undefined in case b
    assert summary.mean["1"]["dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert summary.mean["2"]["dice"] == 1
    assert summary.foreground_mean["dice"] == pytest.approx((5 / 6 + 1) / 2)
    union = evaluate(tmp_path / "p", tmp_path / "r", {"background": 0, "any": (1, 2), "two": 2}, workers=0)
    assert union.mean["any"]["dice"] == pytest.approx((4 / 5 + 1) / 2)


def test_maps_of_uncertainty_are_no_segmentations(tmp_path):
    for name in ("a", "a_uncertainty", "b_uncertainty"):
        write(tmp_path / "p", name, [1, 0])
    write(tmp_path / "r", "a", [1, 0])
    write(tmp_path / "r", "b_uncertainty", [1, 0])  # a case that happens to be called so
    assert [case.case for case in evaluate(tmp_path / "p", tmp_path / "r", workers=0).cases] == ["a", "b_uncertainty"]


def test_a_missing_reference_is_named(tmp_path):
    write(tmp_path / "p", "a", [1])
    write(tmp_path / "p", "lonely", [1])
    write(tmp_path / "r", "a", [1])
    with pytest.raises(DataError, match=r"no reference for 1 of 2 segmentations: \['lonely'\]"):
        evaluate(tmp_path / "p", tmp_path / "r", workers=0)
