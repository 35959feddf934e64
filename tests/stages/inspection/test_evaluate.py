"""Scores of two folders, by hand."""

import csv
import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.settings.verbs import EvaluateSettings
from segfw.core.types import Geometry
from segfw.io.formats.readers import write_label
from segfw.stages.inspection import evaluate as module
from segfw.stages.inspection.evaluate import evaluate, run
from segfw.stages.trainings import runs
from segfw.training import run as fold

IN_LINE = ExecutorSettings(workers=0)

GRID = Geometry((1.0, 1.0, 2.0), (0.0,) * 3, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


def write(folder, name, row, grid=GRID):
    folder.mkdir(exist_ok=True)
    write_label(folder / f"{name}.nii.gz", np.array(row, np.uint8).reshape(1, 1, -1), grid)


def test_dice_by_hand(tmp_path):
    write(tmp_path / "p", "a", [1, 1, 0, 2])
    write(tmp_path / "r", "a", [1, 0, 0, 2])
    write(tmp_path / "p", "b", [1, 0, 0, 0])
    write(tmp_path / "r", "b", [1, 0, 0, 0])
    summary = evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE)
    # label 1: 2*1/(2*1+1) = 2/3 and 1; label 2: 1 in case a, undefined in case b
    assert summary.mean["1"]["dice"] == pytest.approx((2 / 3 + 1) / 2)
    assert summary.mean["2"]["dice"] == 1
    assert summary.foreground_mean["dice"] == pytest.approx((5 / 6 + 1) / 2)
    union = evaluate(tmp_path / "p", tmp_path / "r", {"background": 0, "any": (1, 2), "two": 2}, executor=IN_LINE)
    assert union.mean["any"]["dice"] == pytest.approx((4 / 5 + 1) / 2)


def test_remap_renumbers_the_references_alone(tmp_path, caplog):
    write(tmp_path / "p", "a", [1, 1, 0, 2, 255])
    write(tmp_path / "r", "a", [255, 0, 0, 1, 0])  # 255 becomes 1 and 1 becomes 2, both at once
    remap = {"255": 1, "1": 2}
    settings = EvaluateSettings(str(tmp_path / "p"), str(tmp_path / "r"), remap=remap, executor=IN_LINE)
    run(settings)
    means = json.loads((tmp_path / "p/metrics.json").read_text())["mean"]
    assert {name: row["dice"] for name, row in means.items()} == {"1": pytest.approx(2 / 3), "2": 1}
    named = evaluate(tmp_path / "p", tmp_path / "r", {"a": 1, "b": 2}, IN_LINE, remap={255: 1, 1: 2})
    assert {name: row["dice"] for name, row in named.mean.items()} == {"a": pytest.approx(2 / 3), "b": 1}
    assert "values that no label has" not in caplog.text


@pytest.mark.parametrize(
    ("remap", "message"),
    [
        ({"one": 1}, r"^remap must map integers to integers, .* got the key 'one'"),
        ({"2": -1}, r"^remap must map to integers of at least 0, got -1 for 2"),
    ],
)
def test_a_remap_keeps_to_the_rules_of_the_tasks(tmp_path, remap, message):
    write(tmp_path / "p", "a", [1, 0])
    settings = EvaluateSettings(str(tmp_path / "p"), str(tmp_path / "p"), remap=remap, executor=IN_LINE)
    with pytest.raises(UsageError, match=message):
        run(settings)
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["a.nii.gz"]


def test_maps_of_uncertainty_are_no_segmentations(tmp_path):
    for name in ("a", "a_uncertainty", "b_uncertainty"):
        write(tmp_path / "p", name, [1, 0])
    write(tmp_path / "r", "a", [1, 0])
    write(tmp_path / "r", "b_uncertainty", [1, 0])  # a case that happens to be called so
    assert [case.case for case in evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE).cases] == [
        "a",
        "b_uncertainty",
    ]


def test_a_missing_reference_is_named(tmp_path):
    write(tmp_path / "p", "a", [1])
    write(tmp_path / "p", "lonely", [1])
    write(tmp_path / "r", "a", [1])
    with pytest.raises(DataError, match=r"no reference for 1 of 2 segmentations: \['lonely'\]"):
        evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE)


def test_names_that_pair_by_a_rule_are_the_same_cases(tmp_path, caplog):
    for name in ("ann", "bob"):
        write(tmp_path / "p", f"{name}_scan", [1, 0])
        write(tmp_path / "r", f"{name}_mask", [1, 0 if name == "ann" else 1])
    write(tmp_path / "r", "eve_mask", [1, 0])
    caplog.set_level("INFO")
    scored = evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE).cases
    assert [(case.case, case.labels["1"].dice) for case in scored] == [("ann_scan", 1), ("bob_scan", 2 / 3)]
    assert "references {case}_mask: ann_scan with ann_mask, bob_scan with bob_mask" in caplog.text
    assert "1 of 3 references have no segmentation and are left out: ['eve_mask']" in caplog.text


def test_names_that_pair_in_two_ways_are_told_as_predictions_and_references(tmp_path):
    for number in (1, 2):
        write(tmp_path / "p", f"a{number}", [1])
        for kind in ("liver", "tumor"):
            write(tmp_path / "r", f"a{number}_{kind}", [1])
    expected = r"and 4 references; two rules pair 2 .*:\n  predictions \{case\}; references.*(.|\n)*rename"
    with pytest.raises(DataError, match=expected):
        evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE)


def test_labels_that_occur_nowhere_and_values_without_a_label_are_warned_of(tmp_path, caplog):
    write(tmp_path / "p", "a", [0, 1, 1, 0, 0])
    write(tmp_path / "r", "a", [0, 1, 2, 3, 4])
    labels = {"anterior": 1, "posterior": 5, "rest": [3, 7], "ignore": 4}
    summary = evaluate(tmp_path / "p", tmp_path / "r", labels, IN_LINE)
    assert summary.mean["anterior"]["dice"] == pytest.approx(2 / 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "labels: neither a segmentation nor a reference holds {'posterior': 5}; they have no score",
        "labels: the references hold values that no label has, which are not scored: [2]",
    ]


def two_cases(folder: Path):
    """Label 1: in case a one voxel of 2 mm short, in case b missed."""
    write(folder / "p", "a", [1, 1, 0, 0])
    write(folder / "r", "a", [1, 1, 1, 0])
    write(folder / "p", "b", [0, 0, 0, 0])
    write(folder / "r", "b", [0, 1, 0, 0])
    return EvaluateSettings(str(folder / "p"), str(folder / "r"), executor=IN_LINE)


def test_spacing_comes_from_the_reference_and_tolerance_from_the_caller(tmp_path):
    two_cases(tmp_path)
    folders = tmp_path / "p", tmp_path / "r"
    # in x only the ends of the row are border: 0 and 1 against 0 and 2, so 0, 2 mm and 0, 2 mm
    strict, lax = (evaluate(*folders, executor=IN_LINE, tolerance_mm=tolerance) for tolerance in (1.9, 2))
    assert strict.mean["1"]["nsd"] == (0.5 + 0) / 2
    assert lax.mean["1"]["nsd"] == (1 + 0) / 2
    assert lax.mean["1"]["assd_mm"] == 1
    assert "nsd" not in evaluate(*folders, executor=IN_LINE, tolerance_mm=None).mean["1"]


def test_three_files_are_written(tmp_path, caplog):
    settings = two_cases(tmp_path)
    with caplog.at_level(logging.INFO):
        run(settings)
    assert "HD95 1.90 mm over 2 cases (1 missed, 0 invented)" in caplog.text
    plain = json.loads((tmp_path / "p/metrics.json").read_text())
    assert plain["presence"]["1"] == {"both": 1, "missed": 1, "invented": 0, "neither": 0}
    with (tmp_path / "p/metrics.csv").open() as file:
        assert [row["hd95_mm"] for row in csv.DictReader(file)] == ["1.9", ""]
    theirs = json.loads((tmp_path / "p/summary.json").read_text())
    assert theirs["metric_per_case"][0]["metrics"]["1"]["TP"] == 2
    assert theirs["metric_per_case"][0]["reference_file"] == str(tmp_path / "r/a.nii.gz")
    assert not math.isnan(theirs["foreground_mean"]["Dice"])


def test_a_summary_of_nnunet_stays(tmp_path, caplog):
    settings = two_cases(tmp_path)
    theirs = tmp_path / "p/summary.json"
    theirs.write_text("{}")
    run(settings)
    assert theirs.read_text() == "{}"
    assert "summary.json is not segfw's and stays" in caplog.text
    theirs.unlink()
    run(settings)
    first = theirs.read_text()
    write(tmp_path / "p", "b", [0, 1, 0, 0])
    run(settings)
    assert theirs.read_text() != first


def test_only_overlap_under_another_name(tmp_path):
    settings = two_cases(tmp_path)
    run(
        EvaluateSettings(
            settings.predictions, settings.references, str(tmp_path / "mine"), metrics="overlap", executor=IN_LINE
        )
    )
    header = (tmp_path / "mine.csv").read_text().splitlines()[0]
    assert header == "case,label,dice,iou,tp,fp,fn,tn,n_pred,n_ref"
    assert (tmp_path / "mine_summary.json").exists()


def test_labels_that_are_no_numbers_are_refused(tmp_path):
    two_cases(tmp_path)
    with pytest.raises(UsageError, match=r"not so: \['b', 'c'\]"):
        evaluate(tmp_path / "p", tmp_path / "r", {"a": 1, "b": [], "c": ["x"]}, executor=IN_LINE)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            replace(GRID, spacing=(1.0, 1.0, 2.1)),
            r"a\.nii\.gz has spacing .* 2\.1\], .*\[1\.0, 1\.0, 2\.0\]",
        ),
        (replace(GRID, direction=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))), r"has direction .*\[-1\.0, "),
    ],
)
def test_another_grid_than_the_references_is_refused(tmp_path, grid, message):
    write(tmp_path / "p", "a", [1, 0], grid)
    write(tmp_path / "r", "a", [1, 0])
    with pytest.raises(JobError, match=message):
        evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE)


def test_rounding_of_headers_is_forgiven(tmp_path):
    write(tmp_path / "p", "a", [1, 0], replace(GRID, spacing=(1.0, 1.0, 2.0004)))
    write(tmp_path / "r", "a", [1, 0])
    assert evaluate(tmp_path / "p", tmp_path / "r", executor=IN_LINE).mean["1"]["dice"] == 1


def test_a_runs_files_are_called_as_they_are_there():
    there = runs.CONFIG, fold.VALIDATION, fold.METRICS_JSON
    assert there == (module.CONFIG, module.VALIDATION, module.METRICS_JSON)


def test_the_metrics_of_a_run_are_not_written_over(tmp_path):
    folder = tmp_path / "fold_0" / "validation"
    folder.mkdir(parents=True)
    (folder.parent / "config.yaml").write_text("name: main")
    write(folder, "a", [1, 0])
    write(tmp_path / "r", "a", [1, 0])
    with pytest.raises(UsageError, match=r"is the validation of a run, whose metrics\.json must stay"):
        run(EvaluateSettings(str(folder), str(tmp_path / "r"), executor=IN_LINE))
    run(EvaluateSettings(str(folder), str(tmp_path / "r"), output=str(tmp_path / "mine.json"), executor=IN_LINE))
    assert (tmp_path / "mine.json").exists()
    assert not (folder / "metrics.json").exists()


@pytest.mark.parametrize("name", ["scores.csv", "scores.json", "scores"])
def test_both_files_are_written_whichever_is_named(tmp_path, name):
    write(tmp_path / "p", "a", [1, 0])
    settings = EvaluateSettings(str(tmp_path / "p"), str(tmp_path / "p"), executor=IN_LINE)
    run(replace(settings, output=str(tmp_path / "out" / name)))
    names = ["scores.csv", "scores.json", "scores_summary.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    run(replace(settings, output=str(tmp_path / "out/fold.1")))
    assert (tmp_path / "out/fold.1.csv").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", r"output: .*/folder is a folder; name a file in it, such as .*/folder/metrics\.json"),
        ("taken.json", r"output: .*/taken\.csv would be written, and is a folder"),
        ("scores.xlsx", r"output: a name that ends in \.json or \.csv, or in neither, got .*scores\.xlsx"),
    ],
)
def test_an_output_that_cannot_be_written_as_named_is_refused(tmp_path, name, message):
    write(tmp_path / "p", "a", [1, 0])
    for each in ("folder", "taken.csv"):
        (tmp_path / each).mkdir()
    settings = EvaluateSettings(str(tmp_path / "p"), str(tmp_path / "p"), output=str(tmp_path / name), executor=IN_LINE)
    with pytest.raises(UsageError, match=message):
        run(settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "p", "taken.csv"]
