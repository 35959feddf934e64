"""One run of W&B's for each of ours, offline: how it begins, goes on, and what it keeps."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import wandb

from segfw.core.settings.tracking import LoggerSettings
from segfw.tracking.panels import save_picture
from segfw.tracking.trackers import RunEnd, TrackedRun
from segfw.tracking.wandb_log import STATE, State, load_state, open_wandb
from tests.tracking.wandb_records import OfflineRun, offline_runs, read_run

OFFLINE = LoggerSettings(wandb=True, mode="offline")


@pytest.fixture(autouse=True, scope="module")
def nobody_logged_in():
    with pytest.MonkeyPatch.context() as patch:
        wandb.teardown()
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("NETRC", os.devnull)
        yield
        wandb.teardown()


def run_in(root: Path, fold: int = 0, kind: str = "train", **config: object) -> TrackedRun:
    folder = root / "runs" / "main" / "default" / "planned" / "2d" / f"fold_{fold}"
    return TrackedRun("segfw", "Tiny/default/2d", f"main fold {fold}", kind, folder, root, ("one",), config)


def parts(run: TrackedRun) -> list[OfflineRun]:
    state = load_state(run.folder / STATE)
    return [read_run(folder) for folder in offline_runs(run.root, state.id)]


def tables(part: OfflineRun) -> list[dict[str, object]]:
    return [artifact for artifact in part.artifacts.values() if artifact["type"] == "run_table"]


def test_a_run_goes_on_under_its_id_and_with_rising_steps(tmp_path):
    run = run_in(tmp_path, **{"optimizer.lr": 0.1})
    for end, epoch in ((RunEnd.FAILED, 0), (RunEnd.FINISHED, 1)):
        tracker = open_wandb(run, OFFLINE)
        tracker.scalars({"train/loss": 1.0 - epoch}, epoch)
        tracker.scalars({"val/dice": 0.5}, epoch)
        tracker.close(end)
    first, second = parts(run)
    assert first.id == second.id == load_state(run.folder / STATE).id
    assert [[(row["_step"], row["epoch"]) for row in part.history] for part in (first, second)] == [
        [(0, 0), (1, 0)],
        [(2, 1), (3, 1)],
    ]
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.config["optimizer.lr"] == 0.1
    assert second.summary["val/dice"] == 0.5


def test_pictures_tables_and_files_are_kept(tmp_path):
    run, png = run_in(tmp_path), tmp_path / "case.png"
    save_picture(np.full((4, 4, 3), 9, np.uint8), png)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1")
    tracker = open_wandb(run, OFFLINE)
    tracker.picture("val/patches", np.zeros((4, 6, 3), np.uint8), "of a test", 3)
    tracker.table("cases", ["case", "dice", "picture"], [["a", 0.5, png], ["b", None, None]])
    tracker.files("best", "model", [tmp_path / "model", png])
    tracker.close(RunEnd.FINISHED)
    (part,) = parts(run)
    shown = part.history[0]["val/patches"]
    assert (shown["width"], shown["height"], shown["caption"]) == (6, 4, "of a test")
    files = offline_runs(tmp_path, part.id)[0] / "files"
    assert (files / shown["path"]).read_bytes()[1:4] == b"PNG"
    (table,) = [json.loads(a["files"]["cases.table.json"].read_text()) for a in tables(part)]
    assert [row[:2] for row in table["data"]] == [["a", 0.5], ["b", None]]
    assert (table["data"][0][2]["_type"], table["data"][1][2]) == ("image-file", None)
    assert part.artifacts["best"]["type"] == "model"
    assert {name: path.read_bytes() for name, path in part.artifacts["best"]["files"].items()} == {
        "case.png": png.read_bytes(),
        "model/weights": b"1",
    }


def test_of_several_folds_one_is_the_agents_run(tmp_path, monkeypatch):
    opened = {}
    for name, run in {
        "selection": run_in(tmp_path, 9, "select"),
        "first": run_in(tmp_path, 0),
        "second": run_in(tmp_path, 1),
        "first again": run_in(tmp_path, 0),
    }.items():
        monkeypatch.setenv("WANDB_RUN_ID", "agent1")
        monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
        open_wandb(run, OFFLINE).close(RunEnd.FINISHED)
        assert "WANDB_RUN_ID" not in os.environ
        opened[name] = parts(run)[-1]
    assert {name: (run.id == "agent1", run.sweep) for name, run in opened.items()} == {
        "selection": (False, ""),
        "first": (True, "sweep1"),
        "second": (False, ""),
        "first again": (True, "sweep1"),
    }


def test_the_agents_run_lies_in_the_agents_project_also_when_it_goes_on_without_the_agent(tmp_path, monkeypatch):
    given = {"WANDB_RUN_ID": "agent2", "WANDB_SWEEP_ID": "s", "WANDB_PROJECT": "sweeps", "WANDB_ENTITY": "lab"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = LoggerSettings(wandb=True, mode="offline", entity="me")
    places = []
    for fold in (0, 1, 0):
        tracker = open_wandb(run_in(tmp_path, fold), settings)
        places.append((tracker.run.project, tracker.run.entity))
        tracker.close(RunEnd.FINISHED)
        assert given.keys().isdisjoint(os.environ)
    assert places == [("sweeps", "lab"), ("segfw", "me"), ("sweeps", "lab")]
    assert load_state(run_in(tmp_path).folder / STATE) == State("agent2", 0, "sweeps", "lab")


def test_without_an_agent_the_project_is_the_settings_and_the_environment_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "another")
    monkeypatch.setenv("WANDB_ENTITY", "lab")
    tracker = open_wandb(run_in(tmp_path), OFFLINE)
    tracker.close(RunEnd.FINISHED)
    assert (tracker.run.project, os.environ["WANDB_PROJECT"], os.environ["WANDB_ENTITY"]) == ("segfw", "another", "lab")


@pytest.mark.parametrize("content", ["", "[]", '{"id": "x"}', '{"id": "x", "step": "many"}'])
def test_a_damaged_state_begins_a_new_run(tmp_path, content):
    (tmp_path / STATE).write_text(content)
    assert load_state(tmp_path / STATE) is None


def test_the_state_is_read_as_it_was_written(tmp_path):
    (tmp_path / STATE).write_text('{"id": "abc", "step": 7}')
    assert load_state(tmp_path / STATE) == State("abc", 7)


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_nobody_logged_in_means_offline_and_no_question(tmp_path, mode, caplog, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked"))
    with caplog.at_level("INFO"):
        open_wandb(run_in(tmp_path), LoggerSettings(wandb=True, mode=mode)).close(RunEnd.FINISHED)
    assert "offline, since nobody is logged in" in caplog.text
    assert f"wandb sync {tmp_path}" in caplog.text
