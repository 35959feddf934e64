"""The benchmark of reading images, on small sets: which files it takes, what it tells, and that it compares values."""

import json
import sys

import numpy as np
import pytest
import SimpleITK as sitk


@pytest.fixture
def reading(benchmark):
    return benchmark("reading")


def test_reading_on_small_sets(reading, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reading, "LARGE_SHAPE", (8, 16, 16))
    for name in ("Task04_Hippocampus/imagesTr/a.nii.gz", "loose/b.nii.gz", "loose/.c.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        reading.make_image(tmp_path / name, (4, 5, 6), 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("")
    monkeypatch.setattr(sys, "argv", ["reading.py", "--quick", "--data", str(tmp_path)])
    reading.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["small", "large", "loose"]
    outcome = json.loads(lines[-1])
    names = ["small", "large", "loose"]
    assert list(outcome) == [f"read_{key}_{name}" for name in names for key in ("seconds", "cpu_seconds")]
    assert all(value > 0 for value in outcome.values())


def test_files_are_spread_over_the_set(reading, tmp_path):
    for number in range(10):
        (tmp_path / "Set").mkdir(exist_ok=True)
        (tmp_path / f"Set/{number}.nii.gz").touch()
    assert [path.name[0] for path in reading.real_sets(tmp_path, 4)["Set"]] == ["0", "3", "6", "9"]


def test_reading_notices_other_values(reading, tmp_path, monkeypatch):
    path = reading.make_image(tmp_path / "a.nii.gz", (4, 5, 6), 0)
    assert sitk.ReadImage(str(path)).GetSize() == (6, 5, 4)
    monkeypatch.setattr(reading, "theirs", lambda path: np.zeros((4, 5, 6)))
    with pytest.raises(RuntimeError, match=r"a\.nii\.gz reads differently"):
        reading.compare([path], 1)
