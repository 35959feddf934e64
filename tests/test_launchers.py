"""Folds as jobs of one command, each a process of its own: what they leave, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.demo_job import TINY, run_folder

pytestmark = pytest.mark.slow

CHANGED = ("folds", "trainer.max_epochs")
COMMAND = [*(word for word in TINY if not word.startswith(CHANGED)), "trainer.max_epochs=1", "data.workers=0"]


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("launchers") / "out" / "Demo"


def start(output: Path, *words: str) -> "subprocess.Popen[str]":
    """Begin the program with -m in a session of its own, in which all of its processes are found."""
    roots = (f"data_root={output.parents[1] / 'data'}", f"output_root={output.parent}")
    return subprocess.Popen(
        [sys.executable, "-m", "segfw", "-m", *COMMAND, *roots, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )


def processes_of(session: int) -> set[int]:
    """Return the processes of a session that have not ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def until(holds, seconds: float = 300.0):
    """Return what `holds` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def posting(output: Path, number: int) -> dict:
    """Return what a job says of itself, {} before it says something."""
    for path in output.glob(f".locks/multirun_*/{number}.json"):
        return json.loads(path.read_text())
    return {}


def test_two_folds_at_once_make_one_model_and_one_that_is_preempted_begins_again(output):
    command = start(output, "folds=0,1", "hydra/launcher=submitit_local")
    begun = until(lambda: posting(output, 1))
    os.kill(begun["pid"], signal.SIGUSR2)  # as a cluster does before it takes the computer away
    said, _ = command.communicate(timeout=600)
    assert command.returncode == 0, said
    until(lambda: not processes_of(command.pid), 30)

    (sweep,) = (output / "sweeps").iterdir()
    logs = [(sweep / str(number) / "segfw.log").read_text() for number in range(2)]
    left = [text for text in logs if "left to the last of the jobs of name=main, 1 run is not finished yet" in text]
    assert len(left) == 1
    assert "select: wrote" not in left[0]
    assert "".join(logs).count("select: wrote") == 1
    assert "".join(logs).count("fingerprint: wrote") == 1
    assert "".join(logs).count("preprocess 3d_fullres: wrote") <= 1  # the one that ended may have begun it
    selection = yaml.safe_load((output / "selection" / "main.yaml").read_text())
    assert selection["scores"][0]["folds"] == [0, 1]
    assert [path.name for path in (output / "models").iterdir()] == ["main"]
    assert len(list((output / "models" / "main").glob("*.safetensors"))) == 2
    for fold in range(2):
        config = yaml.safe_load((run_folder(output).with_name(f"fold_{fold}") / "config.yaml").read_text())
        assert config["run"]["trainer"]["threads"] == max(1, (os.cpu_count() or 1) // 2)
    submitit = "".join(path.read_text() for path in sweep.glob(".submitit/*/*_log.out"))
    assert "Requeued job" in submitit
    assert not list((output / ".locks").iterdir())


def test_one_that_fails_is_named_and_the_others_go_on(output):
    (run_folder(output).with_name("fold_2") / "checkpoints").mkdir(parents=True)
    (run_folder(output).with_name("fold_2") / "checkpoints" / "last.ckpt").write_text("of nobody knows what")
    words = ("folds=2,0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = start(output, *words)
    said, _ = command.communicate(timeout=600)
    assert command.returncode == 1, said
    assert "segfw: 1 of 2 jobs are not done:\n  job 0 (folds=2): " in said
    assert "holds a checkpoint but no config.yaml" in said
    assert (run_folder(output).with_name("fold_0") / "done.yaml").exists()
    assert "1 run is not finished yet: 3d_fullres fold 2" in said
    assert "to select from what is finished of name=main: python -m segfw +task=Demo" in said
    until(lambda: not processes_of(command.pid), 30)
    assert not list((output / ".locks").iterdir())


def test_jobs_of_joblib_start_processes_of_their_own(output, tmp_path):
    words = ("folds=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "stages=[fingerprint,plan,preprocess]")
    command = start(output, *words, "executor.workers=1", f"output_root={tmp_path}")
    said, _ = command.communicate(timeout=600)
    assert command.returncode == 0, said
    assert "fingerprint: wrote" in said


@pytest.mark.parametrize(
    "launcher", [("submitit_local",), ("joblib", "hydra.launcher.n_jobs=2")], ids=lambda one: one[0]
)
def test_an_interruption_ends_the_jobs(output, launcher):
    chosen, *keys = launcher
    command = start(output, "folds=3,4", f"hydra/launcher={chosen}", *keys, "trainer.max_epochs=100000", "name=long")
    until(lambda: all(posting(output, number).get("name") for number in range(2)))
    command.terminate()
    said, _ = command.communicate(timeout=120)
    assert command.returncode == 128 + signal.SIGTERM, said
    until(lambda: not processes_of(command.pid), 30)
    assert not list((output / ".locks").iterdir())
