"""The examples for SLURM: their options, and the commands that they would start, which are composed but not run."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import submitit

from segfw import config
from segfw.__main__ import MAIN
from segfw.command_line import VERBS, parse_command
from segfw.composition import compose, register_schemas
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.ranks import launched_ranks

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts" / "slurm").glob("*.sh"))
OPTIONS = set(Path(__file__).with_name("sbatch_options.txt").read_text(encoding="utf-8").split())
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "12"}
STUBS = {
    "python": 'printf "%s\\0" "$@" >said',
    "srun": 'echo "$*" >>srun; while [[ $1 == -* ]]; do shift; done; "$@"',
    "ray": """echo "$*" >>ray
if [ "$1" = start ]; then sleep 3; elif grep -q ^start ray; then echo " 1 node_a"; echo " 1 node_b"; fi""",
}
STAGES = ("fingerprint", "plan", "preprocess", "train", "select", "report")
SWEEPS = Path(__file__).parents[2] / "docs" / "sweeps.md"


def options_of(script: Path) -> dict[str, str]:
    """Return the options of the `#SBATCH` lines; all that lie after a command would be ignored."""
    lines = script.read_text(encoding="utf-8").splitlines()
    given = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    first = next(n for n, line in enumerate(lines) if line.startswith("set -"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]
    return {name.removeprefix("--"): value for name, _, value in (option.partition("=") for option in given)}


def stubs_in(folder: Path) -> Path:
    """Write programs that note, in the folder they are run in, what they are asked for."""
    folder.mkdir(parents=True)
    for name, body in STUBS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def said(tmp_path: Path) -> Any:
    """Run a script in a job of two nodes whose programs are stubs; return the words that Python is given."""
    programs = stubs_in(tmp_path / ".venv/bin")
    (programs / "activate").touch()

    def run(script: Path, *words: str, **environment: str) -> list[str]:
        path = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(script), *words],
            cwd=tmp_path,
            env={**os.environ, **JOB, **environment, "PATH": path},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "said").read_text().split("\0")[:-1]

    return run


def composed(words: list[str]) -> Any:
    """Return the settings that `python` with these words would work by."""
    assert words[:2] == ["-m", "segfw"]
    command = parse_command(words[2:])
    name = command.verb or MAIN
    register_schemas()
    found, _, _ = compose(VERBS[name], name, command)
    return config.load(VERBS[name].settings, found, VERBS[name].page)


def named(name: str) -> Path:
    (script,) = (script for script in SCRIPTS if script.stem == name)
    return script


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_bash_and_sbatch_know_every_word(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    options = options_of(script)
    assert options.keys() <= OPTIONS, options.keys() - OPTIONS
    assert options["open-mode"] == "append"  # else the log of a job that is queued again replaces what there was
    assert re.fullmatch(r"\d+:\d\d:\d\d", options["time"])


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="sbatch, of SLURM, is not on the PATH")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_cluster_would_take_it(script: Path) -> None:
    """On whatever cluster there is, which may have no graphics cards, few cores and little memory."""
    least = ["--gpus-per-node=0", "--cpus-per-task=1", "--mem=0", "--time=1"]
    asked = subprocess.run(
        ["sbatch", "--test-only", *least, str(script)], capture_output=True, encoding="utf-8", check=False
    )
    assert asked.returncode == 0, asked.stderr
    assert " to start at " in asked.stderr


def test_a_job_of_the_array_trains_its_fold(said: Any) -> None:
    settings = composed(said(named("train_array"), "trainer.max_epochs=250", SLURM_ARRAY_TASK_ID="3"))
    assert isinstance(settings, ExperimentSettings)
    assert (settings.folds, settings.trainer.max_epochs, settings.stages) == ((3,), 250, STAGES)
    options = options_of(named("train_array"))
    first, last = map(int, options["array"].split("-"))
    assert list(range(first, last + 1)) == list(range(settings.split.num_folds))
    assert (options["requeue"], options["signal"]) == ("", "USR1@120")


def test_the_nodes_train_together_as_many_as_were_asked_for(said: Any, tmp_path: Path) -> None:
    settings = composed(said(named("train_ddp"), "folds=0"))
    options = options_of(named("train_ddp"))
    nodes, each = int(options["nodes"]), int(options["ntasks-per-node"])
    assert (settings.trainer.num_nodes, settings.trainer.devices) == (nodes, each) == (2, 4)
    assert options["gpus-per-node"] == options["ntasks-per-node"]
    assert settings.plan.batch_size >= nodes * each
    assert "--kill-on-bad-exit=1" in (tmp_path / "srun").read_text()
    assert {"requeue", "signal"} <= options.keys()


def test_a_folder_is_shared_by_the_cards_of_a_node(said: Any) -> None:
    settings = composed(said(named("predict"), "inference.mirror=false"))
    assert (settings.devices, settings.executor.name, settings.inference.mirror) == ("auto", "local", False)
    assert options_of(named("predict"))["nodes"] == "1"


def test_a_cluster_of_ray_is_started_for_a_command(said: Any, tmp_path: Path) -> None:
    settings = composed(said(named("ray"), SLURM_PROCID="0"))
    host = subprocess.run(["hostname"], capture_output=True, encoding="utf-8", check=True).stdout.strip()
    assert (settings.executor.name, settings.executor.address) == ("ray", f"{host}:20007")
    assert "start --block --head --port=20007 --include-dashboard=false --num-cpus=12" in (tmp_path / "ray").read_text()
    prepared = composed(said(named("ray"), "+task=Task04", "stages=[fingerprint,plan,preprocess]", SLURM_PROCID="1"))
    assert prepared.stages == ("fingerprint", "plan", "preprocess")
    assert f"start --block --address={host}:20007 --num-cpus=12" in (tmp_path / "ray").read_text()
    assert prepared.executor.address == f"{host}:20007"
    assert "no-kill" in options_of(named("ray"))


def test_submitit_takes_what_the_page_gives_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{stubs_in(tmp_path / 'programs')}:{os.environ['PATH']}")  # submitit looks for srun
    (line,) = re.findall(r"hydra/launcher=submitit_slurm(.*?)```", SWEEPS.read_text(encoding="utf-8"), re.DOTALL)
    given = dict(re.findall(r"hydra\.launcher\.(\w+)=(\w+)", line))
    values: dict[str, Any] = {key: int(value) if value.isdigit() else value for key, value in given.items()}
    values["slurm_partition"] = values.pop("partition")
    assert len(values) == 5
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(**values)
    with pytest.raises(NameError, match="slurm_partitoin"):
        executor.update_parameters(slurm_partitoin="gpu")


def test_nobody_takes_the_script_itself_for_a_task() -> None:
    assert not launched_ranks(JOB).together
