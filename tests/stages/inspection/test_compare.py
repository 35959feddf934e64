"""Verb `compare` on run folders that the test writes with the project's own writers; numbers worked out by hand."""

import csv
import json
import logging
import sys
from dataclasses import replace

import pytest

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.scoring.metrics import CaseMetrics, Counts, summarize, summary_to_json
from segfw.core.settings.training import OptimizerSettings, TrainerSettings
from segfw.core.settings.verbs import CompareSettings
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import write_text
from segfw.stages.inspection import compare
from segfw.stages.inspection.compared_runs import load_runs
from segfw.stages.trainings.runs import CONFIG, Done
from segfw.training.run import DONE, FoldRun
from segfw.workspace import to_yaml
from tests.training.conftest import make_plan

CASES = tuple(f"case{number}" for number in range(7))
BEFORE, AFTER = (1, 2, 3, 1, 2, 0, 5), (2, 4, 6, 5, 7, 6, 5)  # Dice in tenths: six cases gain 0.1 to 0.6, one nothing


def write_run(folder, dice, cases=CASES, done=True, tags=(), dataset="Tiny", content="hash", **changes):
    """Write a finished fold in which every label of a case has the Dice `dice` / 10."""
    plan = replace(make_plan(), dataset_name=dataset)
    fold = folder.name.removeprefix("fold_")
    run = FoldRun(plan, "3d_fullres", int(fold) if fold.isdigit() else "full", ("t1", "t2"), tuple(cases), "/s/store_1")
    run = replace(run, **changes)
    config = {"dataset": content, "tags": list(tags), "callbacks": {}, "run": to_plain(run)}
    write_text(folder / CONFIG, to_yaml(config))
    scored = [
        CaseMetrics(name, dict.fromkeys(("core", "shell"), Counts(tenths, 10 - tenths, 10 - tenths, 0)))
        for name, tenths in zip(cases, dice, strict=True)
    ]
    if scored:
        write_text(folder / "validation" / "metrics.json", summary_to_json(summarize(scored)))
    if done:
        content = Done(run.trainer.max_epochs, 9, "hash", "hash", None, None, {}, training_seconds=60.0)
        write_text(folder / DONE, to_yaml(content))
    return folder


def place(root, name, fold=0, network="planned"):
    return root / "Tiny" / "runs" / name / "default" / network / "3d_fullres" / f"fold_{fold}"


@pytest.fixture
def two(tmp_path):
    one = write_run(place(tmp_path, "main"), BEFORE)
    changed = {"optimizer": OptimizerSettings(lr=0.5), "trainer": TrainerSettings(max_epochs=20)}
    return one, write_run(place(tmp_path, "fast"), AFTER, tags=("ours", "new"), **changed)


def compared(caplog, *paths, **options):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        compare.run(CompareSettings(runs=tuple(map(str, paths)), **options))
    return "\n".join(caplog.messages)


def row(text, key):
    """Return the cells of the row of a table that begins with `key`."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(key)]
    return line.split(key)[1].split()


def test_settings_metrics_and_the_test_of_two_folds(two, caplog):
    text = compared(caplog, *two)
    assert "main: " in text
    assert f"fast: {two[1]}  tags: ours, new" in text
    assert row(text, "optimizer.lr") == ["0.01", "0.5"]
    assert row(text, "trainer.max_epochs") == ["1000", "20"]
    assert "val_cases" not in text
    assert row(text, "cases") == ["7", "7"]
    assert row(text, "Dice, foreground mean") == ["0.2000", "0.5000"]  # 14 / 70 and 35 / 70
    assert row(text, "epochs") == ["1000", "20"]
    assert row(text, "parameters") == ["5.57", "k", "5.57", "k"]
    assert "fast beside main: Dice +0.3000 (95 % interval +" in text
    assert "of 7 pairs better in 6, equal in 1, worse in 0; Wilcoxon signed-rank p = 0.0312" in text
    assert "group_pattern=REGEX" in text
    assert "\x1b" not in text


def test_few_cases_have_neither_interval_nor_test(tmp_path, caplog):
    cases = ("a", "b", "c")
    paths = [write_run(place(tmp_path, name), dice, cases) for name, dice in (("x", (5, 6, 7)), ("y", (6, 7, 8)))]
    text = compared(caplog, *paths)
    assert "y beside x: Dice +0.1000 (no interval: fewer than 6 cases or groups) on 3 common cases" in text
    assert "no test, it takes 6 pairs that differ" in text


def test_everything_is_written_as_json(two, caplog, tmp_path):
    compared(caplog, *two, output=str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["settings"] == {
        "optimizer.lr": {"main": 0.01, "fast": 0.5},
        "trainer.max_epochs": {"main": 1000, "fast": 20},
    }
    assert [run["foreground_mean"]["dice"] for run in found["runs"]] == pytest.approx([0.2, 0.5])
    assert found["runs"][1]["tags"] == ["ours", "new"]
    assert found["paired"]["fast"]["p_value"] == pytest.approx(2 / 2**6)
    assert found["paired"]["fast"]["difference"]["dice"] == pytest.approx(0.3)


def test_everything_is_written_as_csv(two, caplog, tmp_path):
    compared(caplog, *two, output=str(tmp_path / "found.csv"))
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = {(entry["section"], entry["key"], entry["label"]): entry for entry in csv.DictReader(file)}
    assert (rows["setting", "optimizer.lr", ""]["main"], rows["setting", "optimizer.lr", ""]["fast"]) == ("0.01", "0.5")
    assert float(rows["metric", "dice", "shell"]["fast"]) == pytest.approx(0.5)
    assert (rows["paired", "wins", ""]["main"], rows["paired", "wins", ""]["fast"]) == ("", "6")


def test_the_finished_folds_of_a_configuration_are_taken_together(two, tmp_path, caplog):
    write_run(place(tmp_path, "main", 1), (10,), ("other",))
    write_run(place(tmp_path, "main", 2), (10,), ("third",), done=False)
    write_run(place(tmp_path, "main", "full"), (), ())
    text = compared(caplog, two[0].parent, tmp_path / "Tiny" / "runs" / "fast")
    assert f"{place(tmp_path, 'main', 2)} is not finished and left out" in text
    assert row(text, "cases") == ["8", "7"]
    assert row(text, "training, all folds") == ["3", "min", "1", "min"]
    assert row(text, "Dice, foreground mean, 7 cases of all") == ["0.2000", "0.5000"]
    assert "7 cases (" in text


def test_a_variant_of_several_configurations_is_no_run(two, tmp_path):
    write_run(place(tmp_path, "main", network="vnet"), BEFORE)
    with pytest.raises(UsageError, match=r"main holds 2 configurations; name one of them:\n.*planned.*\n.*vnet"):
        load_runs([str(two[1]), str(tmp_path / "Tiny" / "runs" / "main")])


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        (["main"], UsageError, "compare needs two or more runs.*runs/main"),
        (["main", "nowhere"], UsageError, "runs: there is no folder .*nowhere"),
        (["main", "."], UsageError, "is no run; it must be the folder of a fold"),
        (["main", "main"], UsageError, "main is named twice"),
        (["main", "begun"], ArtefactError, "begun.* is not finished"),
    ],
)
def test_what_is_no_pair_of_runs(two, tmp_path, monkeypatch, caplog, paths, error, message):
    write_run(place(tmp_path, "begun"), (), (), done=False, val_cases=CASES)
    monkeypatch.chdir(tmp_path / "Tiny")
    with pytest.raises(error, match=message):
        compared(caplog, *(path if path in ("nowhere", ".") else f"runs/{path}" for path in paths))


def test_another_ending_is_refused(two, caplog):
    with pytest.raises(UsageError, match=r"output must end in .json or .csv, got 'found.xlsx'"):
        compared(caplog, *two, output="found.xlsx")


def test_without_a_common_case_there_is_no_test_but_all_else(two, tmp_path, caplog):
    other = write_run(place(tmp_path, "other"), (3,), ("elsewhere",))
    stranger = write_run(place(tmp_path, "stranger"), BEFORE, dataset="Liver", content="another")
    text = compared(caplog, two[0], other, stranger)
    assert "other beside main: no test, they have no validated case or no label in common" in text
    assert "stranger beside main: no test, they are of different datasets (Liver and Tiny)" in text
    assert row(text, "plan.dataset_name") == ["Tiny", "Tiny", "Liver"]
    assert "1 case (" in text


def test_several_comparisons_are_corrected(two, tmp_path, caplog):
    third = write_run(place(tmp_path, "third"), AFTER)
    text = compared(caplog, *two, third)
    assert text.count("p = 0.0312, 0.0625 after Holm's correction") == 2


def test_images_of_one_patient_are_one_pair(tmp_path, caplog):
    names = [f"patient{n // 2:02}_{'ab'[n % 2]}" for n in range(14)]
    one = write_run(place(tmp_path, "one"), [t for t in BEFORE for _ in "ab"], names)
    two = write_run(place(tmp_path, "two"), [t for t in AFTER for _ in "ab"], names)
    assert "use 'group_pattern=(.+)_'" in compared(caplog, one, two)
    text = compared(caplog, one, two, group_pattern="(.+)_")
    assert "on 14 common cases; of 7 pairs better in 6, equal in 1, worse in 0" in text
    assert "group_pattern" not in text


def test_code_that_a_run_names_is_not_imported(two, tmp_path, caplog, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    network = replace(FoldRun.__dataclass_fields__["network"].default_factory(), name="mine", _target_="planted.Net")
    third = write_run(place(tmp_path, "third"), AFTER, network=network)
    text = compared(caplog, two[0], third)
    assert row(text, "parameters")[-1] == "-"
    assert "its network is planted.Net, which is code that `compare` does not run" in text
    assert "planted" not in sys.modules


def test_what_a_dataset_holds_tells_it_from_another_and_not_its_name(two, tmp_path, caplog):
    renamed = write_run(place(tmp_path, "renamed"), BEFORE, dataset="Small")
    changed = write_run(place(tmp_path, "changed"), BEFORE, content="another")
    text = compared(caplog, two[1], renamed, changed)
    assert "renamed beside fast: Dice -0.3000" in text
    assert "changed beside fast: no test, they are of different datasets (Tiny has changed between them)" in text


def test_a_finished_run_without_its_scores_is_damaged(two, tmp_path, caplog):
    full = write_run(place(tmp_path, "main", "full"), (), ())
    assert "Dice" in compared(caplog, *two, full)
    (two[1] / "validation" / "metrics.json").unlink()
    with pytest.raises(ArtefactError, match=r"fast.*fold_0 is damaged: .*metrics\.json is missing"):
        compared(caplog, *two)


def test_a_fold_beside_its_configuration_has_a_heading_of_its_own(two, tmp_path):
    write_run(place(tmp_path, "main", 1), (10,), ("other",))
    paths = [str(two[0]), str(two[0].parent)]
    assert [each.name for each in load_runs(paths)] == ["fold_0", "all folds"]


def test_a_path_that_a_comma_took_apart_is_told_to_be_quoted(two):
    with pytest.raises(UsageError, match=r"there is no folder .*/nowhere \(a path that has a comma in it is quoted"):
        load_runs([str(two[0]), "nowhere"])


def test_a_tilde_in_a_run_is_a_name(two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two[1].rename(tmp_path / "~T")
    assert [run.folder for run in load_runs([str(two[0]), "~T"])] == [two[0], tmp_path / "~T"]
