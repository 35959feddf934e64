"""The accuracy table: its statistics on numbers that can be followed by hand, its rows, its folds, its tables."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from scripts.benchmarks import accuracy, accuracy_attribution, accuracy_figures, accuracy_page, accuracy_selection
from scripts.benchmarks.accuracy_figures import CASES, RUNS
from scripts.benchmarks.accuracy_made import EDGE, MOST_SPOTS, RADII, draw_spots
from scripts.benchmarks.accuracy_ours import Folders, curve, training_cases, write_contiguous_folds
from scripts.benchmarks.accuracy_rows import DATASETS, FACTORS, FIVE_FOLDS, HORIZONS, QUICK, ROWS, SHORT
from tests.test_configs import composed


def test_rows_of_both_programs_differ_in_nothing_but_the_program() -> None:
    for row in ROWS:
        if row.program == "nnunet":
            (ours,) = (each for each in ROWS if each.name == row.name.replace("nnunet", "segfw"))
            for field in ("dataset", "recipe", "iterations", "seeds", "folds", "trained"):
                assert getattr(ours, field) == getattr(row, field)
    assert len({row.name for row in ROWS}) == len(ROWS)
    short = next(row for row in ROWS if row.iterations == SHORT)
    assert (short.epochs, short.iterations_per_epoch) == (20, 30)


def test_contiguous_folds_hold_out_neighbouring_slices(tmp_path: Path) -> None:
    labels = tmp_path / DATASETS["Membranes"].folder / "labelsTr"
    labels.mkdir(parents=True)
    for number in range(12):
        (labels / f"slice_{number:02d}.png").touch()
    folds = json.loads(write_contiguous_folds("Membranes", Folders(tmp_path, tmp_path)).read_text())
    assert [fold["val"] for fold in folds] == [[f"slice_{i:02d}" for i in part] for part in (range(6), range(6, 12))]
    assert folds[0]["train"] == folds[1]["val"]


def test_rare_structures_are_under_a_thousandth_of_the_voxels() -> None:
    image, label = draw_spots(np.random.default_rng(0))
    assert image.shape == label.shape == (EDGE,) * 3
    assert 0 < label.sum() < EDGE**3 / 1000
    assert MOST_SPOTS * 4.19 * RADII[1] ** 3 < EDGE**3 / 1000


def test_a_curve_adds_up_the_seconds_of_epochs(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,val/patch_dice,time/epoch\n0,0.25,10.0\n1,0.5,12.5\n")
    assert curve(table, 30) == [(30, 10.0, 0.25), (60, 22.5, 0.5)]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CASES", "RUNS"):
        for module in (accuracy, accuracy_attribution, accuracy_figures, accuracy_page):
            monkeypatch.setattr(module, name, tmp_path / f"{name}.csv", raising=False)
    return tmp_path


def test_tables_are_computed_from_single_cases(tables: Path) -> None:
    key = {"row": FIVE_FOLDS[0].name, "seed": 0}
    for fold, (case, dice) in enumerate([("hippocampus_001", 0.9), ("hippocampus_003", 0.8)]):
        line = {**key, "fold": fold, "case": case, "n_ref": 5, "hd95_mm": 1.0, "nsd": 0.5}
        both = [{**line, "label": "Anterior", "n_pred": 5, "dice": dice}]
        both.append({**line, "label": "Posterior", "n_pred": 0 if fold else 5, "dice": dice - 0.1})
        accuracy.append(accuracy_page.CASES, both)
        accuracy.append(accuracy_page.RUNS, [{**key, "fold": fold, "seconds": 60, "processor_seconds": 50}])
    row = FIVE_FOLDS[0]
    lines = accuracy_page.five_folds(row).splitlines()
    assert lines[2] == "| fold 0 | 0.9000 | 0.8000 | 0.8500 | 1.00 | 0.5000 | 0 | 60 | 50 |"
    assert lines[4] == "| **all 2 cases** | 0.8500 | 0.7500 | 0.8000 | 1.00 | 0.5000 | 1 | 120 | 100 |"


def test_a_training_in_the_table_is_not_made_again(tables: Path) -> None:
    row = FIVE_FOLDS[0]
    accuracy.append(accuracy_page.RUNS, [{"row": row.name, "seed": 0, "fold": 3}])
    assert [each.fold for each in accuracy.missing([row], accuracy_page.RUNS)] == [0, 1, 2, 4]


def test_the_last_line_has_means_and_what_the_two_programs_took(tmp_path: Path) -> None:
    for row, dice, seconds in zip(QUICK, (0.5, 0.25), (30, 60), strict=True):
        key = {"row": row.name, "seed": 0, "fold": 0}
        accuracy.append(tmp_path / CASES.name, [{**key, "case": "a", "label": "lesion", "dice": dice}])
        accuracy.append(tmp_path / RUNS.name, [{**key, "processor_seconds": seconds}])
    assert accuracy.outcome(QUICK, tmp_path) == {
        "rare_segfw_fast_quick_dice": 0.5,
        "rare_nnunet_fast_quick_dice": 0.25,
        "rare_fast_quick_processor_seconds": 0.5,
    }
    assert accuracy.outcome(QUICK[:1], tmp_path / "empty") == {}


def test_what_is_not_defined_is_left_empty() -> None:
    line = {"case": "a", "label": "b", "dice": "0.5", "hd95_mm": "inf", "nsd": "", "lesion_f1": "nan"}
    told = accuracy.judged({**line, "n_pred": "0", "n_ref": "3"})
    assert (told["dice"], told["hd95_mm"], told["nsd"], told["lesion_f1"]) == (0.5, "", "", "")


def test_the_first_three_changes_of_the_published_recipe_are_the_fast_one() -> None:
    words = [word for name in ("adamw", "light", "batch_dice") for word in FACTORS[name][1]]
    changed, fast = (composed("experiment", "task.name=Mine", *given) for given in (words, ["experiment=fast"]))
    for group in ("optimizer", "schedule", "augmentation", "loss"):
        assert getattr(changed, group) == getattr(fast, group)


def test_programs_and_recipes_are_told_with_every_seed(tables: Path) -> None:
    for seed, dice in enumerate((0.5, 0.75)):
        key = {"row": "acdc_segfw_fast", "seed": seed, "fold": 0}
        accuracy.append(accuracy.CASES, [{**key, "case": "a", "label": "RV", "dice": dice}])
    lines = accuracy_attribution.attribution("ACDC").splitlines()
    assert lines[2:] == ["| nnunet | - | - |", "| segfw | - | 0.6250 (0.5000, 0.7500) |"]


def test_nnunet_is_given_the_recipe_that_segfw_calls_fast() -> None:
    fast = composed("experiment", "task.name=Mine", "experiment=fast")
    source = (Path(accuracy.__file__).parent / "accuracy_peer.py").read_text(encoding="utf-8")
    (line,) = re.findall(r"^LR, WEIGHT_DECAY, WARMUP, SHIFT = (.*)$", source, re.MULTILINE)
    rate, decay, warmup, _ = map(float, line.split(","))
    assert (rate, decay, warmup) == (fast.optimizer.lr, fast.optimizer.weight_decay, fast.schedule.warmup)
    given = {"shift": 0.5, "noise": 0.1, "brightness": 0.15}
    for name in ("rotation", "scaling", "shift", "noise", "blur", "brightness", "contrast", "low_resolution", "gamma"):
        assert getattr(fast.augmentation, f"{name}_probability") == given.get(name, 0.0)
    assert "RandomTransform(noise, 0.1), RandomTransform(brightness, 0.15)" in source


def test_a_recipe_has_come_near_its_longest_training_where_it_first_lacks_half_a_point(tables: Path) -> None:
    for budget, dice in ((150, 0.5), (300, 0.792), (1200, 0.796), (3000, 0.8)):
        (row,) = (row for row in HORIZONS if row.name == f"acdc_segfw_fast_{budget}")
        key = {"row": row.name, "seed": 0, "fold": 0}
        accuracy.append(accuracy.CASES, [{**key, "case": "a", "label": "RV", "dice": dice}])
    first = accuracy_attribution.horizons("ACDC").splitlines()[2]
    assert first == "| segfw, fast | 0.5000 | 0.7920 | - | 0.7960 | 0.8000 | 1,200 |"
    accuracy.append(accuracy.CASES, [{**key, "row": "acdc_nnunet_published", "case": "a", "label": "RV", "dice": 0.5}])
    last = accuracy_attribution.horizons("ACDC").splitlines()[4]
    assert last == "| nnunet, published | - | - | 0.5000 | - | - | - |"


def test_a_plan_of_training_cases_has_seen_no_other(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs" / "Rare"
    (outputs / "plans").mkdir(parents=True)
    (outputs / "plans" / "default.yaml").touch()  # it is there; what it says plays no part
    cases = [
        {"name": name, "images": [f"{name}.nii.gz"], "label": f"{name}_label.nii.gz", "table": {}} for name in "abc"
    ]
    about = {"name": "Rare", "channel_names": ["MRI"], "labels": {"values": {"background": 0, "lesion": 1}}}
    (outputs / "dataset.yaml").write_text(yaml.safe_dump({"dataset": {**about, "num_training": 3, "cases": cases}}))
    (outputs / "splits.json").write_text(json.dumps([{"train": ["a", "b"], "val": ["c"]}]))
    seen = training_cases("Rare", 0, Folders(tmp_path, tmp_path))
    assert ([each.name for each in seen.cases], seen.num_training) == (["a", "b"], 2)


@pytest.mark.parametrize("page", accuracy_page.PAGES, ids=lambda page: page.name)
def test_pages_hold_what_is_computed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- computed: " in text
    assert accuracy_page.filled(text, accuracy_page.tables()) == text


def test_the_table_of_five_folds_has_every_case_once() -> None:
    lines = accuracy_figures.load(accuracy_figures.RESULTS / "hippocampus_3d_fullres_cases.csv")
    assert len(lines) == len({(line["case"], line["label"]) for line in lines}) == 520
    assert {line["fold"] for line in lines} == set("01234")


def test_an_ensemble_is_scored_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / accuracy_selection.NAME / "default_planned_2d+default_planned_3d_fullres"
    folder.mkdir(parents=True)
    entry = {"fold": 1, "case": "a", "labels": {"Anterior": [3, 1, 1, 9]}}  # 2 * 3 / (2 * 3 + 1 + 1)
    (folder / "scores.json").write_text(json.dumps([{**entry, "steps": steps} for steps in ("", "other")]))
    assert [line["dice"] for line in accuracy_selection.of_ensemble(tmp_path)] == ["0.750000"]


def test_each_fold_is_postprocessed_by_the_steps_that_the_others_chose(tmp_path: Path) -> None:
    step = {"operation": "keep_largest", "values": [1], "fill": None, "minimum_mm3": None}
    left_out = [
        {"fold": fold, "winner": "default/planned/3d_fullres", "postprocessing": steps}
        for fold, steps in ((0, []), (1, [step]))
    ]
    about = tmp_path / f"{accuracy_selection.NAME}.yaml"
    about.write_text(yaml.safe_dump({"cross_fitted": {"left_out": left_out}}))
    reference = np.zeros((3, 5, 5), np.uint8)
    reference[1, 1, :3], reference[2, 2, 2] = 1, 2
    predicted = reference.copy()
    predicted[1, 4, 4] = 1  # a component of its own
    run = tmp_path / "3d_fullres"
    for fold, case in enumerate("ab"):
        (run / f"fold_{fold}" / "validation").mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(reference), tmp_path / f"{case}.nii.gz")
        sitk.WriteImage(sitk.GetImageFromArray(predicted), run / f"fold_{fold}" / "validation" / f"{case}.nii.gz")
    lines = list(accuracy_selection.of_postprocessed(tmp_path, run, tmp_path))
    assert [(line["case"], line["label"], line["dice"]) for line in lines] == [
        ("a", "Anterior", "0.857143"),  # 2 * 3 / (3 + 4)
        ("a", "Posterior", "1.000000"),
        ("b", "Anterior", "1.000000"),
        ("b", "Posterior", "1.000000"),
    ]
    about.write_text(about.read_text().replace("3d_fullres", "2d"))
    with pytest.raises(RuntimeError, match="fold 0: default/planned/2d won and not 3d_fullres"):
        list(accuracy_selection.of_postprocessed(tmp_path, run, tmp_path))
