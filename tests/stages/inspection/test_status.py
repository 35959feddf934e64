"""Verb `status` on a prepared folder: what is done, running, failed, stale, damaged, and that nothing is written."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.plan import Fingerprint
from segfw.core.settings.schema import PlanOverrides
from segfw.core.settings.training import OptimizerSettings
from segfw.core.support import locks
from segfw.core.support.conversion import from_plain
from segfw.core.support.locks import hold
from segfw.stages.dataset import raw
from segfw.stages.dataset.record import load_record
from segfw.stages.inspection import status
from segfw.stages.job import Job
from segfw.stages.trainings.runs import CONFIG, Done, run_folder, selection_inputs
from segfw.workspace import digest, load_yaml, recorded_value, save_artefact
from tests.stages.inspection.conftest import CANDIDATE, NAME, begin, finish, fold, listing, stage, told

ROOT = Path(__file__).parents[3]


def select_and_report(job: Job, folds: int) -> None:
    """Leave what the selection and the report of the first `folds` leave."""
    folders = [run_folder(job, NAME, number) for number in range(folds)]
    scored = [(CANDIDATE, from_plain(Done, load_yaml(folder / "done.yaml"), "")) for folder in folders]
    save_artefact(job.workspace.selection("main"), "winner: x\n", selection_inputs(job.settings, scored))
    job.workspace.report.parent.mkdir()
    job.workspace.report.touch()


def test_before_anything_is_trained(job, caplog):
    rows = told(job, caplog)
    assert stage(rows, "dataset") == "done 3 cases"
    assert stage(rows, "fingerprint").startswith("done ")
    assert stage(rows, "plan").startswith("done ")
    assert stage(rows, "preprocess") == f"done {NAME}: 3 of 3 cases"
    assert stage(rows, "train") == "waiting 0 of 3 done, 3 waiting"
    assert stage(rows, "select") == "waiting not there yet"
    assert [fold(rows, number) for number in range(3)] == ["waiting not begun"] * 3


def test_done_to_go_on_with_other_settings_and_of_another_name(job, caplog):
    finish(job, 0)
    finish(job, 1, epochs=2)
    other = replace(job, settings=replace(job.settings, name="other"))
    finish(other, 2)
    rows = told(job, caplog)
    assert fold(rows, 0) == "done Dice 0.7500, 5 epochs, trained for 2 min"
    assert fold(rows, 1) == "to go on Dice 0.7500, 2 epochs, trained for 2 min; 5 epochs are asked for"
    assert stage(rows, "train") == "waiting 1 of 3 done, 1 to go on, 1 waiting"
    titles = [row[0] for row in rows if row[0].startswith("name=")]
    assert titles == ["name=main", "name=other"]
    rows = told(job, caplog, optimizer=OptimizerSettings(lr=0.5), folds=(0,))
    assert fold(rows, 0).endswith("made with other optimizer.lr")


def test_a_training_that_was_given_other_settings_is_told_as_finished_and_what_the_command_would_do(job, caplog):
    finish(job, 0)
    select_and_report(job, 1)
    rows = told(job, caplog, optimizer=OptimizerSettings(lr=0.5), plan=PlanOverrides(batch_size=3), folds=(0,))
    assert stage(rows, "train") == "other settings 0 of 1 done as asked, 1 with other settings"
    assert stage(rows, "select").startswith("done ")
    assert stage(rows, "report").startswith("done ")
    made_with = f"made with other optimizer.lr, plan.batch_size ({NAME})"
    assert fold(rows, 0) == f"other settings done: Dice 0.7500, 5 epochs, trained for 2 min; {made_with}"
    said = [" ".join(row) for row in rows]
    at = said.index("This command would stop before it trains, and leave every run as it is:")
    assert said[at + 1].startswith("name=main is taken by a run with other settings")
    assert said[at + 2] == "optimizer.lr: 0.01 there, 0.5 now"
    assert said[at + 3].startswith(f"plan.batch_size ({NAME}): ")
    assert said[at + 3].endswith(" there, 3 now")
    assert not any("This command would stop" in " ".join(row) for row in told(job, caplog))
    only_report = told(job, caplog, optimizer=OptimizerSettings(lr=0.5), stages=("report",))
    assert not any("This command would stop" in " ".join(row) for row in only_report)


def test_running_dead_failed_and_damaged(job, caplog):
    running, dead, damaged = (begin(job, number) for number in range(3))
    (damaged / "done.yaml").write_text("epochs: many\n")
    lock = job.workspace.lock(f"run {job.workspace.relative(dead)}")
    with hold(job.workspace.lock(f"run {job.workspace.relative(running)}"), "the run"):
        lock.write_text(json.dumps({"host": "node7", "pid": 12, "since": 0.0}))
        long_ago = time.time() - locks.EXPIRY - 1
        os.utime(lock, (long_ago, long_ago))
        progress = {"epochs_done": 2.5, "epochs": 5, "seconds_left": 90.0, "updated": time.time()}
        (running / "progress.json").write_text(json.dumps(progress))
        rows = told(job, caplog)
    assert fold(rows, 0).startswith(f"running epoch 3/5, 2 min left of training; process {os.getpid()} on ")
    assert "interrupted last saved" in fold(rows, 1)
    assert fold(rows, 1).endswith("process 12 on node7 is gone without a word")
    assert fold(rows, 2).startswith("damaged ")
    assert "done.yaml" in fold(rows, 2)
    assert stage(rows, "train") == "damaged 0 of 3 done, 1 running, 1 interrupted, 1 damaged"
    (damaged / "done.yaml").unlink()
    (damaged / "failed.yaml").write_text("when: '2026-11-30T06:12:00'\nreason: the loss is nan\nlog: /x/segfw.log\n")
    (running / "progress.json").write_text("{")
    rows = told(job, caplog)
    assert fold(rows, 2) == "failed 2026-11-30 06:12:00: the loss is nan; log: /x/segfw.log"
    assert fold(rows, 0).startswith("damaged progress.json: ")


def test_a_store_that_is_stale_unfinished_damaged_or_being_filled(job, caplog):
    (store,) = (job.workspace.root / "preprocessed").iterdir()
    record = store / "bob.record.json"
    kept = record.read_text()
    (store / "bob.image.npy").rename(store / "elsewhere")
    assert stage(told(job, caplog), "preprocess").endswith("lacks bob.image.npy")
    (store / "elsewhere").rename(store / "bob.image.npy")
    manifest = store / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace(job.record.content, "another"))
    assert stage(told(job, caplog), "preprocess") == f"done {NAME}: 3 of 3 cases"  # each case was looked at
    record.write_text(kept.replace(job.case_inputs(job.dataset.case("bob"))["raw files"], "another"))
    assert stage(told(job, caplog), "preprocess") == f"stale {NAME}: bob: raw files changed since"
    manifest.unlink()
    record.unlink()
    assert stage(told(job, caplog), "preprocess") == f"interrupted {NAME}: 2 of 3 cases"
    with hold(job.workspace.lock(f"preprocessed {store.name}"), "the store"):
        record.write_text(kept)
        now = time.time() + 10
        os.utime(record, (now, now))
        (store / "ann.record.json").rename(store / "ann.gone")
        text = stage(told(job, caplog), "preprocess")
    assert text.startswith(f"running {NAME}: 2 of 3 cases, 10 s left; process {os.getpid()} on ")


def test_changed_inputs_an_edited_plan_and_raw_data_that_changed_or_are_gone(job, caplog, monkeypatch):
    planner = replace(job.settings.planner, gpu_memory_gb=3.0)
    assert stage(told(job, caplog, planner=planner), "plan").endswith("planner.gpu_memory_gb changed since")
    plan = job.workspace.plan("default")
    plan.write_text(plan.read_text().replace("batch_dice: false", "batch_dice: true"))
    assert stage(told(job, caplog), "plan").startswith("edited by hand ")
    plan.write_text("{")
    assert stage(told(job, caplog), "plan").startswith("edited by hand ")
    monkeypatch.setattr("segfw.stages.inspection.stage_states.changed_files", lambda record: [sorted(record.files)[0]])
    text = stage(told(job, caplog), "dataset")
    assert text.startswith("stale 3 cases, as of ")
    assert text.endswith("changed since: ann_0000.nii.gz")


def test_without_the_raw_data_and_before_the_first_command(job, caplog, tmp_path):
    files = {
        path.replace("/imagesTr/", "/gone/").replace("/labelsTr/", "/gone/"): s for path, s in job.record.files.items()
    }
    assert raw.changed_files(replace(job.record, files=files)) == sorted(files)
    assert raw.changed_files(job.record) == []
    status.run(replace(job.settings, output_root=str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_what_is_read_instead_of_long_yaml_says_the_same(job):
    twin = load_record(job.workspace)
    job.workspace.dataset_twin.unlink()
    assert load_record(job.workspace) == twin == job.record
    path = job.workspace.fingerprint
    value = digest(from_plain(Fingerprint, load_yaml(path), path.name))
    assert recorded_value(path) == value == job.fingerprint_digest
    path.write_text("# a note of a person\n" + path.read_text())
    assert recorded_value(path) == ""


def test_a_twin_of_another_text_is_not_believed(job):
    twin = job.workspace.dataset_twin
    twin.write_text(twin.read_text().replace('"ann"', '"eve"'))
    plain = json.loads(twin.read_text())
    assert load_record(job.workspace).dataset.cases[0].name == "eve"  # type: ignore[union-attr]
    twin.write_text(json.dumps({**plain, "text": "another"}))
    assert load_record(job.workspace) == job.record


def test_the_command_writes_nothing_and_loads_no_pytorch(job, tmp_path):
    before = listing(tmp_path)
    words = [f"task.name={job.dataset.name}", f"task.folder={job.settings.task.folder}", "split.num_folds=3"]
    words += [f"data_root={job.settings.data_root}", f"output_root={job.settings.output_root}"]
    command = [sys.executable, "-X", "importtime", "-m", "segfw", "status", *words, f"configurations=[{NAME}]"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of 3 done, 3 waiting" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "segfw" in imported
    assert not imported & {"torch", "pytorch_lightning", "matplotlib"}
    assert listing(tmp_path) == before


def test_a_damaged_dataset_yaml_is_said_and_what_can_be_judged_still_is(job, caplog):
    finish(job, 0)
    job.workspace.dataset_twin.unlink()
    job.workspace.dataset.write_text(job.workspace.dataset.read_text()[:200] + "\n  - [")
    rows = told(job, caplog)
    assert stage(rows, "dataset").startswith(f"damaged {job.workspace.dataset} cannot be read")
    assert stage(rows, "fingerprint") == "there cannot be judged without dataset.yaml"
    assert stage(rows, "train") == "done 1 of 1 done"
    assert fold(rows, 0).startswith("done Dice 0.7500, 5 epochs")
    assert "nothing has been done" not in caplog.text


@pytest.mark.parametrize("content", ["", "run: {\n"])
def test_a_cut_off_config_yaml_is_damaged_for_every_command(job, caplog, content):
    (finish(job, 0) / CONFIG).write_text(content)
    for changes in ({}, {"name": "another"}, {"folds": (1,)}):
        states = [" ".join(row[2:]) for row in told(job, caplog, **changes) if row[:2] == [CANDIDATE, "0"]]
        (text,) = [state for state in states if state != "waiting not begun"]
        assert re.match(r"damaged \S+/config\.yaml is (no mapping|not valid YAML)", text)
    assert stage(told(job, caplog), "train") == "damaged 0 of 3 done, 1 damaged, 2 waiting"


def test_missing_segmentations_of_a_finished_fold_are_noted(job, caplog):
    folder = finish(job, 0)
    (case,) = job.cases_of(0)[1]
    (folder / "validation" / f"{case}.nii.gz").unlink()
    assert fold(told(job, caplog), 0).endswith("trained for 2 min; 1 of 1 segmentation is missing")
    (folder / "validation" / f"{case}.nii.gz").touch()
    assert fold(told(job, caplog), 0).endswith("trained for 2 min")


def test_a_selection_and_a_page_of_stale_folds_are_stale(job, caplog):
    for number in range(3):
        finish(job, number)
    select_and_report(job, 3)
    rows = told(job, caplog)
    assert [stage(rows, name).split()[0] for name in ("train", "select", "report")] == ["done"] * 3
    config = run_folder(job, NAME, 0) / CONFIG
    text = config.read_text()
    config.write_text(text.replace(job.record.content, "of-other-data"))
    rows = told(job, caplog)
    assert fold(rows, 0).endswith("changed since: dataset")
    assert stage(rows, "select").startswith("stale ")
    assert f"default/planned/{NAME} fold 0 is stale" in stage(rows, "select")
    assert "the selection is stale" in stage(rows, "report")
    config.write_text(text)
    rows = told(job, caplog, planner=replace(job.settings.planner, gpu_memory_gb=3.0))
    assert stage(rows, "select").endswith("the plan is stale")


def test_work_under_another_name_has_a_line(job, caplog):
    of_other, of_page = job.workspace.lock("selection other"), job.workspace.lock("report")
    with hold(of_other, "the selection"), hold(of_page, "the report"):
        rows = told(job, caplog)
    (line,) = [" ".join(row) for row in rows if row[:2] == ["running", "besides:"]]
    assert line.startswith(f"running besides: selection other; process {os.getpid()} on ")
    assert stage(rows, "report").startswith("running ")
