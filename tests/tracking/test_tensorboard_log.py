"""What TensorBoard reads of what it was told."""

import io
import math
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segfw.core.errors import UsageError
from segfw.tracking.tables import to_png_bytes
from segfw.tracking.tensorboard_log import open_tensorboard
from segfw.tracking.trackers import RunEnd
from tests.tracking.tracked import NAMES, picture, tracked_run, values


def read(root: Path) -> EventAccumulator:
    return EventAccumulator(str(root / "runs/fold_0/tensorboard")).Reload()


def points(root: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(root).Scalars(name)]


def images(root: Path, name: str) -> list[tuple[int, bytes, bytes, bytes]]:
    """Return step, width, height and content of every picture of a name."""
    return [(event.step, *event.tensor_proto.string_val) for event in read(root).Tensors(name)]


def text(root: Path, name: str) -> str:
    return read(root).Tensors(name)[-1].tensor_proto.string_val[0].decode()


def test_every_metric_is_there_under_its_name(tmp_path: Path) -> None:
    tracker = open_tensorboard(tracked_run(tmp_path))
    for epoch in range(3):
        tracker.scalars(values(epoch), epoch)
    assert not tracker.remote
    assert points(tmp_path, "lr") == [(0, 0.0), (1, 1.0), (2, 2.0)]  # before it is closed
    tracker.close(RunEnd.FINISHED)
    assert sorted(read(tmp_path).Tags()["scalars"]) == sorted(NAMES)
    assert points(tmp_path, NAMES[3])[1] == (1, 1 + 3 / 64)


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    tracker = open_tensorboard(tracked_run(tmp_path))
    tracker.scalars({"train/loss": 0.5, "val/loss": math.nan, "val/dice": math.inf}, 0)
    assert read(tmp_path).Tags()["scalars"] == ["train/loss"]


def test_an_epoch_told_again_with_further_values_is_one_epoch(tmp_path: Path) -> None:
    run = tracked_run(tmp_path)
    first = open_tensorboard(run)
    first.scalars(values(0), 0)
    first.picture("val/cases", picture(), "", 0)
    first.scalars({**values(0), "val/dice": 0.1}, 0)
    first.close(RunEnd.FINISHED)
    open_tensorboard(run).scalars({**values(0), "val/dice": 0.1, "val/dice/liver": 0.3}, 0)
    assert points(tmp_path, "train/loss") == [(0, 1 / 64)]
    assert points(tmp_path, "val/dice") == [(0, pytest.approx(0.1))]
    assert points(tmp_path, "val/dice/liver") == [(0, pytest.approx(0.3))]
    assert len(images(tmp_path, "val/cases")) == 1


@pytest.mark.parametrize("again", [0, 2])
def test_epochs_done_again_replace_the_first_attempt(tmp_path: Path, again: int) -> None:
    run = tracked_run(tmp_path)
    first = open_tensorboard(run)
    for epoch in range(4):
        first.scalars(values(epoch), epoch)
    second = open_tensorboard(run)  # the first was killed
    second.scalars(values(again, shift=100), again)
    expected = [*((epoch, epoch + 1 / 64) for epoch in range(again)), (again, again + 100 + 1 / 64)]
    assert points(tmp_path, "train/loss") == expected
    assert len(read(tmp_path).Tensors("config")) == 1
    assert "| optimizer.lr | 0.01 |" in text(tmp_path, "config")


def test_pictures_tables_and_settings(tmp_path: Path) -> None:
    thumbnail = tmp_path / "worst of anna.png"
    thumbnail.write_bytes(to_png_bytes(picture(100)))
    tracker = open_tensorboard(tracked_run(tmp_path, note="a|b"))
    tracker.scalars(values(4), 4)
    tracker.picture("val/cases", picture(), "true and predicted", 4)
    rows = [("case 1", 0.5, 3, thumbnail), ("case 2", math.nan, None, None)]
    tracker.table("val/per_case", ("case", "Dice", "lesions", "slice"), rows)
    tracker.close(RunEnd.FAILED)
    ((step, width, height, content),) = images(tmp_path, "val/cases")
    assert (step, width, height) == (4, b"3", b"2")
    np.testing.assert_allclose(imread(io.BytesIO(content))[..., :3] * 255, picture())
    assert read(tmp_path).SummaryMetadata("val/cases").plugin_data.plugin_name == "images"
    assert read(tmp_path).SummaryMetadata("val/cases").summary_description == "true and predicted"
    assert images(tmp_path, "val/per_case/case 1/slice") == [(4, b"3", b"2", thumbnail.read_bytes())]
    assert text(tmp_path, "val/per_case").splitlines() == [
        "| case | Dice | lesions | slice |",
        "| --- | --- | --- | --- |",
        "| case 1 | 0.5 | 3 | worst of anna.png |",
        "| case 2 |  |  |  |",
    ]
    assert r"| note | a\|b |" in text(tmp_path, "config")


def test_changed_settings_are_told_and_the_same_ones_are_not(tmp_path: Path) -> None:
    open_tensorboard(tracked_run(tmp_path)).close(RunEnd.FINISHED)
    open_tensorboard(tracked_run(tmp_path)).close(RunEnd.FINISHED)
    assert len(read(tmp_path).Tensors("config")) == 1
    open_tensorboard(tracked_run(tmp_path, **{"trainer.max_epochs": 9})).close(RunEnd.FINISHED)
    assert "| trainer.max_epochs | 9 |" in text(tmp_path, "config")


def test_no_file_tells_the_host(tmp_path: Path) -> None:
    open_tensorboard(tracked_run(tmp_path)).close(RunEnd.FINISHED)
    (path,) = (tmp_path / "runs/fold_0/tensorboard").iterdir()
    assert socket.gethostname() not in path.name
    assert socket.gethostname().encode() not in path.read_bytes()


def test_without_the_package_the_line_that_brings_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r'pip install "segfw\[tracking\]"'):
        open_tensorboard(tracked_run(tmp_path))
