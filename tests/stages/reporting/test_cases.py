"""What the report reads from images: confusions and pictures of validated cases, remembered on disk."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from segfw.core.errors import DataError
from segfw.core.plan import IntensityStatistics
from segfw.core.scoring.metrics import case_metrics, summarize
from segfw.core.types import Geometry, Volume
from segfw.interop.nnunet import read_plans
from segfw.stages.job import prepare
from segfw.stages.reporting import cases as report_cases
from segfw.stages.reporting import confusion as report_confusion
from segfw.stages.reporting.cases import choose_channels, view_of, viewed_cases
from segfw.stages.reporting.confusion import winner_confusion
from segfw.stages.reporting.winner import NO_CASE, NO_FILE, SegmentedCase, Winner, find_winner
from segfw.stages.trainings.runs import Done, FinishedFold
from segfw.training.run import FoldRun
from tests.stages.golden import HIPPOCAMPUS
from tests.stages.tiny_dataset import CASES, SHAPE, label_of, make, settings_of, write

PLAN = read_plans(HIPPOCAMPUS / "plans_default.json")


@pytest.fixture
def job(tmp_path):
    return prepare(settings_of(make(tmp_path / "Tiny"), tmp_path / "out"))


@pytest.fixture
def winner(job, tmp_path):
    """Three cases, validated by two folds; the predictions call every tumor liver, but that of `ann`."""
    cases = []
    for number, name in enumerate(CASES):
        prediction = label_of(name) if name == "ann" else np.minimum(label_of(name), 1)
        file = tmp_path / "validation" / f"{name}.nii.gz"
        write(file, prediction)
        metrics = case_metrics(name, label_of(name), prediction, job.dataset.labels)
        cases.append(SegmentedCase(job.dataset.case(name), number % 2, file, metrics, f"weights of {name}"))
    return Winner("default/planned/3d_fullres", (0, 1), {(c.fold, c.case.name): c.metrics for c in cases}, tuple(cases))


def test_confusions_of_all_folds_add_up(job, winner, tmp_path):
    found = winner_confusion(job, winner, tmp_path / "made")
    assert found.num_cases == 3
    assert found.confusion.values == (0, 1, 2)
    assert found.confusion.counts == ((351, 0, 0), (0, 6, 0), (0, 2, 1))  # of 3 x 120 voxels, see `label_of`


def test_only_changed_folds_are_counted_again(job, winner, tmp_path, monkeypatch):
    before = winner_confusion(job, winner, tmp_path / "made")
    counted = []

    def count(task):
        counted.append(task[0].case.name)
        return {(0, 0): 1}

    monkeypatch.setattr(report_confusion, "confuse_case", count)
    assert winner_confusion(job, winner, tmp_path / "made") == before
    assert counted == []
    changed = tuple(replace(c, made_from="new") if c.case.name == "bob" else c for c in winner.cases)
    found = winner_confusion(job, replace(winner, cases=changed), tmp_path / "made")
    assert counted == ["bob"]  # the only case of fold 1
    assert found.confusion.counts[0][0] == 2 * 117 + 1
    assert len(list((tmp_path / "made").glob("confusion_*.json"))) == 2


def test_a_damaged_memory_is_made_again(job, winner, tmp_path, caplog):
    before = winner_confusion(job, winner, tmp_path / "made")
    for path in (tmp_path / "made").iterdir():
        path.write_text("[1, 2")
    assert winner_confusion(job, winner, tmp_path / "made") == before
    assert "is damaged and made again" in caplog.text


def test_a_segmentation_that_is_gone_leaves_the_report_without_its_part(job, winner, tmp_path, caplog):
    winner.cases[0].segmentation.unlink()
    with caplog.at_level(logging.WARNING):
        found = winner_confusion(job, winner, tmp_path / "made")
        viewed = viewed_cases(job, None, winner, tmp_path / "made")
    assert found.confusion is None
    assert [case.name for case in viewed.cases] == ["bob", "cyd"]
    assert viewed.notes == ("Not shown: the best case, ann (Dice 1.000): it cannot be read (see the log).",)
    assert "without the confusion of labels" in caplog.text
    assert "without the pictures of case ann" in caplog.text


def test_a_missing_segmentation_gives_its_role_to_no_other_case(job, winner, tmp_path):
    """The worst is `bob`: its file is gone, which the page says wherever cases are shown or counted."""
    present = tuple(case for case in winner.cases if case.case.name != "bob")
    lacking = replace(winner, cases=present, absent={(1, "bob"): NO_FILE})
    viewed = viewed_cases(job, None, lacking, tmp_path / "made")
    assert [(case.role, case.name) for case in viewed.cases] == [("median", "cyd"), ("best", "ann")]
    said, named = viewed.notes
    assert said == "1 of 3 segmentations is missing."
    assert named == "Not shown: the worst case, bob (Dice 0.400): its segmentation is missing."  # (0.8 + 0) / 2
    found = winner_confusion(job, lacking, tmp_path / "made")
    assert (found.num_cases, found.notes) == (2, (said,))
    nothing = replace(winner, cases=(), absent=dict.fromkeys(winner.scores, NO_FILE))
    assert winner_confusion(job, nothing, tmp_path / "made").notes == ("3 of 3 segmentations are missing.",)


def test_missing_segmentations_are_told_in_the_log(job, tmp_path, caplog):
    """Of a fold that validated two cases one segmentation is there, and one case has left the dataset."""
    folder = tmp_path / "out" / "runs" / "main" / "default" / "planned" / "2d" / "fold_0"
    scored = [
        case_metrics(name, label_of("ann"), label_of("ann"), job.dataset.labels) for name in ("ann", "bob", "eve")
    ]
    write(folder / "validation" / "ann.nii.gz", label_of("ann"))
    run = FoldRun(PLAN, "2d", 0, ("cyd",), ("ann", "bob", "eve"), "store")
    done = Done(1, 1, "hash", "hash", None, None, {})
    with caplog.at_level(logging.WARNING):
        found = find_winner(job, None, [FinishedFold(folder, run, done, summarize(scored))])
    assert [case.case.name for case in found.cases] == ["ann"]
    assert found.absent == {(0, "bob"): NO_FILE, (0, "eve"): NO_CASE}
    assert list(found.scores) == [(0, "ann"), (0, "bob"), (0, "eve")]
    assert "1 of 3 segmentations is missing. 1 of 3 validated cases is no longer in the dataset" in caplog.text
    assert "bob of fold 0, eve of fold 0" in caplog.text


def test_the_worst_comes_first_with_its_scores(job, winner, tmp_path, monkeypatch):
    viewed = viewed_cases(job, PLAN, winner, tmp_path / "made").cases
    assert [(case.role, case.name, case.fold) for case in viewed] == [
        ("worst", "bob", "1"),
        ("median", "cyd", "0"),
        ("best", "ann", "0"),
    ]
    worst = viewed[0]
    assert worst.dice == {"liver": pytest.approx(0.8), "tumor": 0.0}  # 2 x 2 / (2 + 3), and missed
    assert worst.sizes["liver"] == (pytest.approx(0.001), pytest.approx(0.0015))  # 2 and 3 voxels of 0.5 mm³
    assert worst.unit == "ml"
    assert (worst.pictures.num_slices, worst.pictures.height, worst.pictures.width) == SHAPE
    monkeypatch.setattr(report_cases, "read_image", None)  # which would fail now
    assert viewed_cases(job, PLAN, winner, tmp_path / "made").cases == viewed


def test_other_weights_make_other_pictures_and_the_old_ones_go(job, winner, tmp_path):
    viewed_cases(job, None, winner, tmp_path / "made")
    before = set((tmp_path / "made").iterdir())
    changed = tuple(replace(case, made_from=f"new {case.case.name}") for case in winner.cases)
    viewed_cases(job, None, replace(winner, cases=changed), tmp_path / "made")
    after = set((tmp_path / "made").iterdir())
    assert len(after) == 3
    assert not before & after


def test_maps_of_different_grids_are_refused(job, winner):
    write(winner.cases[0].segmentation, np.zeros((2, 5, 6), np.uint8))
    with pytest.raises(DataError, match=r"ann.*\(4, 5, 6\), \(4, 5, 6\), \(2, 5, 6\)"):
        report_cases._draw(job, None, winner.cases[0], 1_000_000)


def test_an_ensemble_is_read_from_where_selection_keeps_it(winner, tmp_path):
    file = tmp_path / "ann.npz"
    np.savez_compressed(file, segmentation=label_of("ann"))
    assert np.array_equal(replace(winner.cases[0], segmentation=file).read_prediction(), label_of("ann"))
    file.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"ann\.npz cannot be read"):
        replace(winner.cases[0], segmentation=file).read_prediction()


# --- how images are shown -------------------------------------------------------------------------------------------


def test_three_colors_are_one_picture():
    image = np.zeros((3, 1, 4, 4), np.float32)
    (channel,) = choose_channels(image, ("R", "G", "B"), None)
    assert (channel.name, channel.indices) == ("color", (0, 1, 2))


def test_every_other_channel_is_shown_in_grey_and_by_a_name_of_its_own():
    image = np.arange(6 * 1001, dtype=np.float32).reshape(6, 1, 1, 1001)
    channels = choose_channels(image, ("T1", "T2", "T1", "a", "b", "c"), None)
    assert [channel.name for channel in channels] == ["0: T1", "T2", "2: T1", "a"]
    assert (channels[0].low, channels[0].high) == (5.0, 995.0)


def test_ct_is_shown_as_the_plan_clips_it():
    statistics = IntensityStatistics(100.0, 100.0, 30.0, -1000.0, 3000.0, 200.0, -20.0)
    configurations = {name: replace(each, normalization_schemes=("ct",)) for name, each in PLAN.configurations.items()}
    plan = replace(PLAN, channel_names=("CT",), intensities=(statistics,), configurations=configurations)
    (channel,) = choose_channels(np.zeros((1, 2, 2, 2), np.float32), ("CT",), plan)
    assert (channel.low, channel.high) == (-20.0, 200.0)


def test_slices_lie_across_the_axis_that_the_plan_puts_first():
    geometry = Geometry((1.0, 1.0, 3.0), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    volume = Volume(np.zeros((1, 4, 5, 6), np.float32), (1.0, 1.0, 3.0), geometry)
    sagittal = replace(PLAN, transpose_forward=(2, 0, 1), transpose_backward=(1, 2, 0))
    view = view_of(volume, "a.nii.gz", sagittal)
    assert (view.axes, view.ends) == ((2, 0, 1), ("A", "P", "S", "I"))
    assert view_of(volume, "a.tif", sagittal).ends == ()  # which knows no patient
    assert view_of(volume, "a.nii.gz", None).axes == (0, 1, 2)
