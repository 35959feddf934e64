"""A training tells its trackers the rows of metrics.csv, pictures now and then, and at last its scores."""

from dataclasses import replace

import numpy as np
import pytest

from segfw.core.labels import LabelSet
from segfw.core.scoring.counts import Counts
from segfw.core.scoring.metrics import CaseMetrics, summarize
from segfw.tracking.curve_rows import METRICS_FILE, read_rows
from segfw.tracking.fan_out import telling
from segfw.tracking.trackers import RunEnd
from segfw.training.callbacks.trackers_log import TrackersLog, _draw_patch, case_table, draw_case, scores_of
from segfw.training.epoch_cost import MEASURED
from tests.tracking.recorder import Recorder
from tests.training.conftest import make_case


def followed(run, folder, fit, io, recorder, every=50, *more):
    with telling({"recorder": lambda: recorder}, ()) as trackers:
        return fit(run, folder, TrackersLog(run, folder, io, trackers, every), *more)


def test_every_value_of_every_row_is_told(tmp_path, make_run, fit, io):
    recorder = Recorder()
    result = followed(make_run(), tmp_path, fit, io, recorder)
    rows = read_rows(tmp_path / METRICS_FILE)
    told = [call for call in recorder.told if call[0] == "scalars"]
    assert [(call[2], sorted(call[1])) for call in told[:2]] == [
        (epoch, sorted({*rows[epoch]} - {"epoch"})) for epoch in (0, 1)
    ]
    for call, row in zip(told[:2], rows, strict=True):
        assert {"epoch": call[2], **call[1]} == pytest.approx(row, rel=1e-6)
    assert {"train/loss", "val/loss", "lr", "seconds", "val/patch_dice/core"} <= set(told[0][1])
    assert told[2][1:] == (scores_of(result.scores), 1)
    assert recorder.told[-1] == ("close", RunEnd.FINISHED)


def test_the_table_has_a_row_per_case(tmp_path, make_run, fit, io):
    recorder = Recorder()
    result = followed(make_run(max_epochs=1), tmp_path, fit, io, recorder)
    ((_, name, columns, rows),) = [call for call in recorder.told if call[0] == "table"]
    assert name == "val/cases"
    assert [row[columns.index("case")] for row in rows] == ["c"]
    assert rows[0][columns.index("dice/core")] == result.scores.cases[0].labels["core"].dice


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2]), (2, [1]), (50, [])])
def test_a_picture_every_so_many_epochs(tmp_path, make_run, fit, io, every, epochs):
    recorder = Recorder()
    followed(make_run(max_epochs=3), tmp_path, fit, io, recorder, every)
    pictures = [call for call in recorder.told if call[0] == "picture"]
    assert [call[4] for call in pictures] == epochs
    assert all(call[1:4] == ("val/patches", (256, 2 * 256 + 4, 3), pictures[0][3]) for call in pictures)
    assert all("blue core, orange shell" in call[3] for call in pictures)


def test_pictures_change_nothing_of_the_training(tmp_path, make_run, fit, io):
    fit(make_run(max_epochs=3), tmp_path / "alone")
    followed(make_run(max_epochs=3), tmp_path / "followed", fit, io, Recorder(), 1)
    rows = [read_rows(tmp_path / name / METRICS_FILE) for name in ("alone", "followed")]
    measured = ("seconds", *MEASURED)  # of the machine
    kept = [[{key: value for key, value in row.items() if key not in measured} for row in each] for each in rows]
    assert kept[0] == kept[1]


def test_a_training_that_goes_on_tells_its_new_epochs(tmp_path, make_run, fit, io):
    followed(make_run(max_epochs=1), tmp_path, fit, io, Recorder())
    recorder = Recorder()
    followed(make_run(max_epochs=3), tmp_path, fit, io, recorder, 2)
    assert [call[2] for call in recorder.told if call[0] == "scalars"] == [1, 2, 2]
    assert [call[4] for call in recorder.told if call[0] == "picture"] == [1]


def test_a_tracker_that_fails_does_not_end_the_training(tmp_path, make_run, fit, io, caplog):
    recorder = Recorder(fails=("scalars",))
    result = followed(make_run(), tmp_path, fit, io, recorder)
    assert result.epochs == 2
    assert result.scores is not None
    assert "logger recorder fails" in caplog.text
    assert recorder.told == [("close", RunEnd.FAILED)]


def test_worst_and_best_case_are_shown(tmp_path, make_run, fit, io):
    def read(case, path):
        image, label = make_case(case)
        return image.array[0], label.array[0], np.load(path)

    run = make_run(max_epochs=1, train_cases=("a",), val_cases=("b", "c"))
    recorder = Recorder()
    followed(run, tmp_path, fit, replace(io, read_case=read), recorder)
    ((_, _, columns, rows),) = [call for call in recorder.told if call[0] == "table"]
    shown = {row[columns.index("case")]: row[columns.index("picture")] for row in rows}
    assert all(shown[case] == tmp_path / "validation" / "thumbnails" / f"{case}.png" for case in "bc")
    assert all(path.read_bytes()[1:4] == b"PNG" for path in shown.values())


def test_a_patch_of_two_axes_and_one_of_regions_are_drawn():
    image, label, logits = np.zeros((8, 8)), np.zeros((8, 8), int), np.full((2, 8, 8), -1.0)
    label[2:6, 2:6] = 1
    regions = LabelSet({"background": 0, "whole": (1, 2), "core": 2}, (1, 2))
    picture = _draw_patch(image, label, logits, regions)
    assert picture[64, 64].any()
    logits[1, 0, 0] = 1.0
    assert _draw_patch(image, label, logits, regions)[:32, :32].any()
    assert not picture[:32, :32].any()


def test_a_case_without_foreground_has_no_dice_and_is_neither_worst_nor_best():
    empty, half = Counts(0, 0, 0, 8), Counts(1, 1, 1, 5)  # Dice: none, 2 / 4
    summary = summarize([CaseMetrics("a", {"core": empty}), CaseMetrics("b", {"core": half})])
    columns, rows = case_table(summary, {})
    assert columns == ["case", "dice", "dice/core", "iou/core", "picture"]
    assert rows == [["a", None, None, None, None], ["b", 0.5, 0.5, pytest.approx(1 / 3), None]]
    assert scores_of(summary) == {"val/dice": 0.5, "val/dice/core": 0.5}


def test_a_case_is_drawn_where_most_of_it_is():
    image, true = np.zeros((3, 8, 8)), np.zeros((3, 8, 8), int)
    true[2, 2:6, 2:6] = 1
    labels = LabelSet({"background": 0, "core": 1})
    picture = draw_case(image, true, np.zeros_like(true), labels)
    assert picture.shape == (256, 256, 3)
    assert picture[64, 64].any()  # the corner of the square, enlarged 32 times
    assert not draw_case(image, np.zeros_like(true), np.zeros_like(true), labels).any()
