"""Trainings that Weights & Biases follows offline, through the program; what their runs hold is read back from disk."""

import csv
import getpass
import json
import os
import platform
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import wandb
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from segfw.__main__ import main
from segfw.core.support.ranks import Ranks
from segfw.stages.trainings.followers import following, tracked_fold
from segfw.stages.trainings.runs import load_run
from segfw.training.validation import FoldIO
from tests.stages.tiny_dataset import CASES, make
from tests.tracking.wandb_records import OfflineRun, offline_runs, read_run

SWEEP = Path(__file__).parents[3] / "scripts" / "wandb_sweep.yaml"
SIZES = (
    *("configurations=[3d_fullres]", "split.num_folds=3", "plan.features_per_stage=[4]", "plan.batch_size=2"),
    *("trainer.max_epochs=2", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.threads=1"),
    *("trainer.accelerator=cpu", "inference.mirror=false", "executor.workers=0", "data.workers=0"),
)


@dataclass(frozen=True)
class Followed:
    """What the commands below left: outputs, W&B's runs, what was logged, and whether anything reached for a server."""

    outputs: Path
    first: OfflineRun
    second: OfflineRun
    select: OfflineRun
    trial: OfflineRun
    said: str
    called: bool


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """Train and select; go on for an epoch with everything uploaded; run a trial as W&B's agent would start it."""
    root = tmp_path_factory.mktemp("followed")
    make(root / "data" / "Tiny")
    places = ("task.name=Tiny", "task.folder=Tiny", f"data_root={root / 'data'}", f"output_root={root / 'out'}")
    command = (*places, *SIZES, "stages=[fingerprint,plan,preprocess,train,select]", "folds=0", "logger=wandb")
    outputs = root / "out" / "Tiny"
    with pytest.MonkeyPatch.context() as patch, a_server_that_nobody_calls(patch) as was_called:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 2000)
        planted = (f"tags=[baseline,{CASES[0]},{platform.node()}]", "sampling.case_weights={bob: 2}")
        assert main([*command, *planted, "name=mine", "logger.project=liver"]) == 0
        more = ("trainer.max_epochs=3", "logger.upload=[images,tables,model]", "logger.pictures_every=3")
        assert main([*command, *planted, "name=mine", "logger.project=liver", *more]) == 0
        assert main(trial(patch, root, places)) == 0
        ids = {path.parent: json.loads(path.read_text())["id"] for path in outputs.glob("runs/**/wandb.json")}
        folder = fold_folder(outputs, "mine")
        first, second = map(read_run, offline_runs(outputs, ids[folder]))
        select = read_run(offline_runs(outputs, ids[outputs / "runs" / "mine"])[-1])
        (agents,) = offline_runs(outputs, "agent1")
        yield Followed(
            outputs,
            *(first, second, select, read_run(agents)),
            (folder / "train.log").read_text() + last_log(outputs),
            was_called(),
        )


def fold_folder(outputs: Path, name: str) -> Path:
    return outputs / "runs" / name / "default" / "planned" / "3d_fullres" / "fold_0"


def last_log(outputs: Path) -> str:
    return sorted((outputs / "logs").glob("*/segfw.log"))[-1].read_text()


@contextmanager
def a_server_that_nobody_calls(patch: pytest.MonkeyPatch) -> Iterator[Callable[[], bool]]:
    """Stand where W&B would look for its server, with nobody logged in; say whether anyone has called."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        wandb.teardown()
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        patch.setenv("NETRC", os.devnull)
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

        def was_called() -> bool:
            try:
                server.accept()[0].close()
            except TimeoutError:
                return False
            return True

        yield was_called
        wandb.teardown()


def trial(patch: pytest.MonkeyPatch, root: Path, places: tuple[str, ...]) -> list[str]:
    """Return what the agent runs after `python -m segfw`, its macros expanded by W&B itself, on the tiny dataset.

    As the agent does, say in the environment which run it is.
    """
    chosen = {"optimizer.lr": {"value": 0.003}, "augmentation": {"value": "light"}}
    words = create_sweep_command(list(yaml.safe_load(SWEEP.read_text())["command"]))
    macros = {**create_sweep_command_args({"args": chosen}), "env": ["/usr/bin/env"]}
    command = [part for word in words for part in (macros[word[2:-1]] if re.fullmatch(r"\$\{\w+\}", word) else [word])]
    assert command[:5] == ["/usr/bin/env", "python", "-m", "segfw", "+task=Demo"]
    file = root / "config-agent1.yaml"
    file.write_text(yaml.safe_dump({"wandb_version": 1, **chosen}))
    patch.setenv("WANDB_RUN_ID", "agent1")
    patch.setenv("WANDB_SWEEP_ID", "sweep1")
    patch.setenv("WANDB_SWEEP_PARAM_PATH", str(file))
    return [*places, *SIZES, *command[5:]]


def test_a_run_is_found_by_task_plan_configuration_variant_and_fold(followed):
    run = followed.first
    assert (run.project, run.group, run.kind) == ("liver", "Tiny/default/3d_fullres", "train")
    assert (run.name, run.tags) == ("mine fold 0", ("baseline",))
    assert run.exit_code == 0


def test_the_whole_configuration_is_there_without_cases_and_places(followed):
    config = followed.first.config
    assert config["optimizer.lr"] == 0.01
    assert config["plan.configurations.3d_fullres.features_per_stage"] == [4]
    assert (config["split.num_folds"], config["fold"], config["name"]) == (3, 0, "mine")
    assert (config["train_cases"], config["val_cases"], config["sampling.case_weights"]) == (2, 1, 1)
    assert not [key for key in config if key.endswith(("store", "folder", "data_root", "output_root", ".file"))]


def test_the_history_has_every_value_of_metrics_csv(followed):
    with (fold_folder(followed.outputs, "mine") / "metrics.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    told = [row for part in (followed.first, followed.second) for row in part.history if "train/loss" in row]
    assert [row["epoch"] for row in told] == [0, 1, 2]
    for kept, row in zip(told, rows, strict=True):
        assert {key: kept[key] for key in row} == pytest.approx(row, rel=1e-6)


def test_the_scores_of_whole_cases_are_in_the_summary(followed):
    done = yaml.safe_load((fold_folder(followed.outputs, "mine") / "done.yaml").read_text())
    assert followed.second.summary["val/dice"] == done["dice"]
    assert {label: followed.second.summary[f"val/dice/{label}"] for label in ("liver", "tumor")} == done[
        "dice_per_label"
    ]


def test_by_default_nothing_but_scalars_leaves(followed):
    run = followed.first
    assert run.artifacts == {}
    assert not {"files", "environment", "stats", "output", "output_raw", "preempting"} & run.kinds
    values = [value for row in run.history for value in row.values()]
    assert all(isinstance(value, int | float) for value in values)
    (folder, _) = offline_runs(followed.outputs, run.id)
    assert [path for path in (folder / "files").rglob("*") if path.is_file()] == []


def test_by_default_no_case_place_host_or_user_is_named(followed):
    words = (*CASES, platform.node(), getpass.getuser(), str(followed.outputs), str(Path.home()), str(Path.cwd()))
    for run in (followed.first, followed.trial):
        assert [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", run.text)] == []


def test_nobody_calls_the_server(followed):
    assert not followed.called


def test_a_training_that_goes_on_is_the_same_run(followed):
    assert followed.first.id == followed.second.id
    assert followed.second.resumes
    steps = [row["_step"] for part in (followed.first, followed.second) for row in part.history]
    assert steps == sorted(set(steps))


def test_with_every_permission_pictures_and_cases_are_there(followed):
    run = followed.second
    (panel,) = [row for row in run.history if "val/patches" in row]
    assert (panel["epoch"], panel["val/patches"]["caption"]) == (
        2,
        "blue liver, orange tumor; closed line: true, dashed: predicted",
    )
    folder = offline_runs(followed.outputs, run.id)[1] / "files"
    assert (folder / panel["val/patches"]["path"]).read_bytes()[1:4] == b"PNG"
    (cases,) = [artifact for artifact in run.artifacts.values() if artifact["type"] == "run_table"]
    table = json.loads(next(path for name, path in cases["files"].items() if name.endswith(".json")).read_text())
    assert table["columns"][:4] == ["case", "dice", "dice/liver", "iou/liver"]
    (row,) = table["data"]
    assert row[0] in CASES
    assert row[-1]["_type"] == "image-file"


def test_the_selection_is_a_run_of_its_own_with_what_was_chosen(followed):
    run = followed.select
    assert (run.group, run.kind, run.name) == ("Tiny", "select", "mine selection")
    assert run.summary["candidates/default/planned/3d_fullres"] == run.summary["val/dice"]
    kinds = {artifact["type"]: artifact["files"] for artifact in run.artifacts.values()}
    assert list(kinds["plan"]) == ["default.yaml"]
    assert list(kinds["fingerprint"]) == ["fingerprint.png"]
    assert "mine/model.yaml" in kinds["model"]
    assert [name for name in kinds["model"] if name.endswith(".safetensors")]
    (row,) = json.loads(kinds["run_table"]["candidates.table.json"].read_text())["data"]
    assert row[:4] == ["default/planned/3d_fullres", 1, 1, "0"]


def test_what_is_uploaded_later_lies_beside_the_runs(followed):
    staged = [path for artifact in followed.select.artifacts.values() for path in artifact["files"].values()]
    assert len(staged) >= 4
    assert all(path.is_file() and path.is_relative_to(followed.outputs / "wandb") for path in staged)


def test_the_log_tells_how_a_run_is_synced(followed):
    (folder,) = offline_runs(followed.outputs, "agent1")
    assert f"wandb: the run is on this machine only; to upload it: wandb sync {folder}" in followed.said


def test_a_trial_writes_to_the_agents_run_under_a_name_of_its_own(followed):
    run = followed.trial
    assert (run.id, run.sweep, run.name) == ("agent1", "sweep1", "sweep_agent1 fold 0")
    assert run.config["optimizer.lr"] == 0.003
    assert (run.config["augmentation"], run.config["augmentation.name"]) == ("light", "light")
    assert "val/dice" in run.summary
    assert (fold_folder(followed.outputs, "sweep_agent1") / "done.yaml").is_file()
    assert "WANDB_RUN_ID" not in os.environ


def test_a_name_that_tells_of_a_case_is_hidden(followed, tmp_path):
    told = fold_folder(followed.outputs, "mine")
    folder = tmp_path / "Tiny" / "runs" / f"only {CASES[0]}" / "default" / "planned" / "3d_fullres" / "fold_0"
    shutil.copytree(told, folder)
    assert tracked_fold(load_run(told), told).name == "mine fold 0"
    hidden = tracked_fold(load_run(told), folder)
    assert (hidden.name, hidden.group) == ("(hidden) fold 0", "Tiny/default/3d_fullres")
    run = replace(load_run(told), train_cases=("Tiny", "default"))
    assert tracked_fold(run, told).group == "(hidden)/(hidden)/3d_fullres"


def test_loggers_never_make_another_training(followed):
    config = yaml.safe_load((fold_folder(followed.outputs, "mine") / "config.yaml").read_text())
    assert config["logger"]["upload"] == ["images", "tables", "model"]
    assert (fold_folder(followed.outputs, "mine") / "done.yaml").read_text().startswith("# Written last")


def test_the_first_rank_alone_tells(followed):
    folder = fold_folder(followed.outputs, "mine")
    before = sorted((followed.outputs / "wandb").iterdir())
    io = FoldIO(lambda case: pytest.fail(case), lambda case, array, path: pytest.fail(case))
    with following(load_run(folder), folder, io, Ranks(1, 2, 1, 2)) as followers:
        assert followers == ()
    assert sorted((followed.outputs / "wandb").iterdir()) == before
