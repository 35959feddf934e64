"""What MLflow reads of what it was told: one store for all tests, since making it takes seconds."""

import getpass
import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from segfw.core.errors import JobError, UsageError
from segfw.tracking.mlflow_log import MLflowTracker, is_remote, load_runs, open_mlflow
from segfw.tracking.tables import to_png_bytes
from segfw.tracking.trackers import RunEnd, TrackedRun
from tests.tracking.tracked import NAMES, picture, tracked_run, values


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a dataset, in a folder with a name of its own."""
    return tmp_path_factory.mktemp("out puts, é #1 =[x]")


@pytest.fixture
def run(root: Path, request: pytest.FixtureRequest) -> TrackedRun:
    """Another fold for every test."""
    return tracked_run(root, fold=request.session.items.index(request.node))


def read(tracker: MLflowTracker) -> Any:
    return tracker._client.get_run(tracker.run_id)


def points(tracker: MLflowTracker, name: str) -> list[tuple[int, float]]:
    history = tracker._client.get_metric_history(tracker.run_id, name)
    return sorted((point.step, point.value) for point in history)


def artifacts(tracker: MLflowTracker) -> Path:
    """Where the run's artifacts lie."""
    return Path(tracker._client.download_artifacts(tracker.run_id, ""))


def test_every_metric_is_there_under_its_name(run: TrackedRun) -> None:
    tracker = open_mlflow(run)
    for epoch in range(3):
        tracker.scalars(values(epoch), epoch)
    tracker.scalars({"val/loss/x": math.nan, "val/dice": math.inf}, 2)
    tracker.close(RunEnd.FINISHED)
    assert not tracker.remote
    assert read(tracker).data.metrics == values(2)
    assert set(values(2)) == set(NAMES)
    assert points(tracker, "val/loss") == [(epoch, epoch + 2 / 64) for epoch in range(3)]
    found = read(tracker)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "main fold " + run.folder.name[5:])
    assert tracker._client.get_experiment(found.info.experiment_id).name == "Tiny"
    assert {key: found.data.tags[key] for key in ("group", "kind", "tags")} == {
        "group": "Tiny-default-3d_fullres",
        "kind": "train",
        "tags": "a, b",
    }


def test_a_run_that_goes_on_is_one_run(run: TrackedRun) -> None:
    first = open_mlflow(run)
    first.scalars(values(0), 0)
    first.scalars(values(1), 1)
    first.close(RunEnd.FAILED)
    assert read(first).info.status == "FAILED"
    second = open_mlflow(run)
    assert second.run_id == first.run_id
    assert read(second).info.status == "RUNNING"
    second.scalars(values(1, shift=100), 1)  # done again
    second.scalars({**values(2), "val/dice": 0.5}, 2)
    second.scalars({**values(2), "val/dice": 0.5, "val/dice/liver": 0.25}, 2)
    second.close(RunEnd.FINISHED)
    assert points(second, "train/loss") == [(epoch, epoch + 1 / 64) for epoch in range(3)]
    assert points(second, "val/dice") == [(2, 0.5)]
    assert points(second, "val/dice/liver") == [(2, 0.25)]
    assert read(second).info.status == "FINISHED"


def test_a_run_that_was_deleted_begins_anew(run: TrackedRun) -> None:
    first = open_mlflow(run)
    first._client.delete_run(first.run_id)
    second = open_mlflow(run)
    assert second.run_id != first.run_id
    (run.folder / "mlflow.json").write_text(json.dumps({"local": "0" * 32}))
    assert open_mlflow(run).run_id not in (first.run_id, second.run_id)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"3", b'{"local": 3}', b'{"local": '])
def test_a_damaged_file_remembers_no_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.json").write_bytes(content)
    assert load_runs(tmp_path / "mlflow.json") == {}


def test_a_run_whose_file_is_damaged_begins_anew(run: TrackedRun) -> None:
    first = open_mlflow(run)
    (run.folder / "mlflow.json").write_text('{"local": ')
    second = open_mlflow(run)
    assert second.run_id != first.run_id
    assert load_runs(run.folder / "mlflow.json") == {"local": second.run_id}


def test_settings_are_parameters_and_whole_in_a_file(root: Path) -> None:
    long = list(range(400))
    many = {f"loss.class_weights.label {number} (left)": number for number in range(150)}
    run = tracked_run(root, 1000, cases=long, nothing=None, **many)
    tracker = open_mlflow(run)
    params = read(tracker).data.params
    assert len(params) == 154
    assert (params["optimizer.lr"], params["nothing"], params["trainer.max_epochs"]) == ("0.01", "null", "3")
    assert params["loss.class_weights.label 7 _left_"] == "7"
    assert len(params["cases"]) == 500
    assert params["cases"].endswith("...")
    assert json.loads((artifacts(tracker) / "config.json").read_text())["cases"] == long
    tracker = open_mlflow(tracked_run(root, 1000, **{"trainer.max_epochs": 9, "cases": long}))
    assert read(tracker).data.params["trainer.max_epochs"] == "3"
    assert read(tracker).data.tags["trainer.max_epochs"] == "9"
    assert json.loads((artifacts(tracker) / "config.json").read_text())["trainer.max_epochs"] == 9


def test_pictures_tables_and_files_are_artifacts(run: TrackedRun, tmp_path: Path) -> None:
    thumbnail, model = tmp_path / "anna.png", tmp_path / "main"
    thumbnail.write_bytes(to_png_bytes(picture(100)))
    model.mkdir()
    (model / "model.yaml").write_text("format: 1")
    tracker = open_mlflow(run)
    tracker.picture("val/cases", picture(), "true and predicted", 10)
    tracker.table("val/per_case", ("case", "Dice", "slice"), [("one", math.nan, None), ("two", 0.5, thumbnail)])
    tracker.files("main", "model", [model, thumbnail])
    folder = artifacts(tracker)
    found = imread(folder / "pictures/val/cases/epoch_00010.png")[..., :3] * 255
    np.testing.assert_allclose(found, picture())
    assert b"true and predicted" in (folder / "pictures/val/cases/epoch_00010.png").read_bytes()
    table = json.loads((folder / "tables/val/per_case.json").read_text())
    assert table == {
        "columns": ["case", "Dice", "slice"],
        "data": [["one", None, None], ["two", 0.5, "per_case/0001_2.png"]],
    }
    assert (folder / "tables/val/per_case/0001_2.png").read_bytes() == thumbnail.read_bytes()
    assert (folder / "tables/val/per_case.md").read_text().splitlines()[2] == "| one |  |  |"
    assert (folder / "model/main/main/model.yaml").read_text() == "format: 1"
    assert (folder / "model/main/anna.png").is_file()


def test_the_store_tells_neither_user_nor_host_nor_path(run: TrackedRun, root: Path) -> None:
    tracker = open_mlflow(run)
    tracker.scalars(values(0), 0)
    found = read(tracker)
    own = {key for key in found.data.tags if key.startswith("mlflow.")}
    assert own == {"mlflow.runName"}
    assert found.info.user_id == "unknown"
    content = (root / "mlflow/mlflow.db").read_bytes()
    for secret in (socket.gethostname(), getpass.getuser() if getpass.getuser() != "root" else "root@"):
        assert secret.encode() not in content
    with sqlite3.connect(root / "mlflow/mlflow.db") as store:
        assert {row[0] for row in store.execute("select source_name from runs")} <= {None, ""}
        assert {row[0] for row in store.execute("select source_version from runs")} <= {None, ""}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_labels_with_odd_names_are_kept(run: TrackedRun) -> None:
    tracker = open_mlflow(run)
    tracker.scalars({"val/patch_dice/tumour: é $x$ (left)": 0.5, "val/patch_dice/../a//b": 0.25}, 0)
    assert read(tracker).data.metrics == {"val/patch_dice/tumour_ é _x_ _left_": 0.5, "val/patch_dice/a/b": 0.25}


NO_NETWORK = """
import socket, sys
from pathlib import Path

def refuse(*arguments, **options):
    print("NETWORK", arguments, flush=True)
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from segfw.tracking.mlflow_log import open_mlflow
from segfw.tracking.trackers import RunEnd, TrackedRun

root = Path(sys.argv[1])
(root / "runs/alone").mkdir(parents=True)
tracker = open_mlflow(TrackedRun("Tiny", "group", "name", "select", root / "runs/alone", root, (), {}))
tracker.scalars({"val/dice": 0.5}, 0)
tracker.close(RunEnd.FINISHED)
print("told", tracker._client.get_run(tracker.run_id).data.metrics)
"""


def test_nothing_asks_for_the_network(run: TrackedRun, root: Path) -> None:
    open_mlflow(run)  # which makes the store
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "CI", "PYTEST"))}
    answer = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(root)], env=clean, capture_output=True, text=True, timeout=120
    )
    assert answer.stdout == "told {'val/dice': 0.5}\n", answer.stderr
    assert answer.returncode == 0


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        (None, False),
        ("sqlite:///a/mlflow.db", False),
        ("file:///a", False),
        ("/a/b", False),
        ("https://example.org", True),
        ("http://127.0.0.1:5000", True),
        ("databricks", True),
        ("databricks://profile", True),
        ("postgresql://host/db", True),
    ],
)
def test_what_leaves_the_machine_is_told_from_what_stays(uri: str | None, remote: bool) -> None:
    assert is_remote(uri) is remote


def test_a_store_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow/mlflow.db").mkdir(parents=True)
    with pytest.raises(JobError, match=r"mlflow/mlflow\.db cannot be opened: unable to open database file"):
        open_mlflow(tracked_run(tmp_path))
    with pytest.raises(JobError, match=r"% or \? in its name: .*a%20b"):
        open_mlflow(tracked_run(tmp_path / "a%20b"))


def test_without_the_package_the_line_that_brings_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r'pip install "segfw\[tracking\]"'):
        open_mlflow(tracked_run(tmp_path))
