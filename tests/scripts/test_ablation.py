"""The table of the recipe's ablation: what is written is read back, and its synthetic sets are what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.benchmarks.ablation import Row, append, load_rows, quarter, shrunk
from scripts.benchmarks.ablation_sets import CASES, LABELS, SHAPE, write_dataset

ROW = Row(
    "first", "Twins", "base", "a=1 b=[2,3]", 600, 0, 0.5, '{"front": 0.5, "back": 0.5}', 12.0, "abc", "2026-11-23"
)


def test_a_table_gives_back_its_rows(tmp_path: Path) -> None:
    table = tmp_path / "ablation.csv"
    other = Row("first", "Twins", "base", "", 600, 1, 0.25, "{}", 13.0, "abc", "2026-11-23")
    assert load_rows(table) == []
    append(table, ROW)
    append(table, other)
    assert load_rows(table) == [ROW, other]
    assert ROW.key != other.key


def test_a_quarter_of_the_features_is_at_least_eight() -> None:
    assert quarter([32, 64, 320]) == [8, 16, 80]
    assert quarter([16, 32]) == [8, 8]


def test_a_shrunk_patch_still_suits_its_strides() -> None:
    strides = [[1, 1], [2, 2], [2, 2], [2, 1]]
    assert shrunk([64, 32], strides, 1) == [64, 32]
    assert shrunk([64, 24], strides, 2) == [32, 12]
    assert shrunk([40, 24], strides, 2) == [24, 12]  # 20 is no multiple of 8
    assert shrunk([16, 8], strides, 4) == [16, 8]  # the deepest stage keeps two voxels


@pytest.mark.parametrize("name", sorted(LABELS))
def test_synthetic_sets_hold_their_labels(name: str, tmp_path: Path) -> None:
    write_dataset(name, tmp_path)
    rows = json.loads((tmp_path / "dataset.json").read_text())["training"]
    labels = [sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / row["label"]))) for row in rows]
    assert len(labels) == CASES
    assert {label.shape for label in labels} == {SHAPE}
    assert set(np.unique(np.stack(labels))) == set(LABELS[name].values())
    if name == "Twins":  # the front always lies before the back
        assert all(np.argwhere(label == 1)[:, 1].mean() < np.argwhere(label == 2)[:, 1].mean() for label in labels)
