"""The judge of uncertainty maps, on numbers that can be followed by hand."""

from pathlib import Path

import numpy as np
import pytest

from scripts.benchmarks import uncertainty
from scripts.benchmarks.uncertainty import auroc, calibration_error, near_surface


def test_a_map_that_marks_exactly_the_errors_is_a_perfect_detector() -> None:
    wrong = np.array([False, True, False, True])
    assert auroc(np.array([0.1, 0.9, 0.2, 0.8]), wrong) == 1
    assert auroc(np.array([0.9, 0.1, 0.8, 0.2]), wrong) == 0
    assert auroc(np.full(4, 0.5), wrong) == 0.5
    assert auroc(np.array([0.1, 0.3, 0.2, 0.15]), wrong) == 0.75  # of four pairs three are in order
    assert auroc(np.ones(4), np.zeros(4, bool)) is None


def test_confidence_that_is_kept_is_calibrated() -> None:
    confidence = np.array([0.75, 0.75, 0.75, 0.75, 1.0, 1.0])
    assert calibration_error(confidence, np.array([1, 1, 1, 0, 1, 1], bool)) == pytest.approx(0)
    assert calibration_error(confidence, np.array([0, 0, 0, 0, 1, 1], bool)) == pytest.approx(0.5)  # 4/6 x 0.75


def test_near_a_surface_is_within_two_voxels() -> None:
    label = np.zeros((1, 1, 10), int)
    label[..., 5:] = 1
    assert np.flatnonzero(near_surface(label)).tolist() == [3, 4, 5, 6]


def test_the_table_has_means_where_a_figure_is_defined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(
        "method,case,auroc,auroc_near,auroc_confidence_near,calibration_error,wrong\n"
        "disagreement,a,0.9,0.8,0.7,0.1,100\n"
        "disagreement,b,,,,0.3,0\n"
    )
    monkeypatch.setattr(uncertainty, "TABLE", path)
    assert uncertainty.uncertainty().splitlines()[2:] == [
        "| disagreement of three folds | 0.900 | 0.800 | 0.700 | 0.200 | 50 | 2 |"
    ]
