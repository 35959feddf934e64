"""The rows of a training as they are written, read again, and read of a file that was cut."""

import math
from pathlib import Path

import pytest

from segfw.tracking.curve_rows import read_rows, write_rows


def test_rows_survive_being_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_rows(path) == []
    rows = [
        {"epoch": 0.0, "lr": 0.009990999, "train/loss": -0.5, "seconds": 2.5},
        {"epoch": 1.0, "lr": 0.005, "val/patch_dice/a": 0.25},
    ]
    write_rows(path, rows)
    assert read_rows(path) == rows
    header = "epoch,lr,train/loss,val/loss,val/patch_dice,val/patch_dice_ema,val/patch_dice/a,seconds"
    assert path.read_text().splitlines()[0] == header


def test_what_is_no_number_is_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_rows(path, [{"epoch": 0.0, "val/loss": math.nan, "lr": 0.5}])
    assert path.read_text().splitlines()[1] == "0,0.5,,,,,"
    assert read_rows(path) == [{"epoch": 0.0, "lr": 0.5}]


@pytest.mark.parametrize(
    "content", [b"epoch,lr\n1,abc\xff\n", b"epoch,lr\n1,abc\n", b"lr\n0.5\n", b"epoch,lr\n1,2,3\n"]
)
def test_a_damaged_file_is_named_and_begun_anew(tmp_path: Path, content: bytes, caplog) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    assert read_rows(path) == []
    assert f"{path} is damaged" in caplog.text


@pytest.mark.parametrize("last", ["1", "1,0.25", ",0.25,0.5", "nan,0.25,0.5", "inf,0.25,0.5"])
def test_half_a_row_and_one_without_its_epoch_are_left_out(tmp_path: Path, last: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"epoch,lr,seconds\n0,0.5,2\n{last}")
    assert read_rows(path) == [{"epoch": 0.0, "lr": 0.5, "seconds": 2.0}]
