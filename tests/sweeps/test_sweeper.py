"""The sweeper by itself, with a launcher that only computes: how trials run, fail, are interrupted and go on."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from segfw.core.errors import DataError, JobError, UsageError
from segfw.sweeps.sweeper import OptunaSweeper, why_unusable

GROUPS = {
    "": ["network", "task", "experiment"],
    "network": ["planned", "unet", "vnet"],
    "task": ["Task04"],
    "experiment": ["fast"],
}
PARAMS = {"optimizer.lr": "tag(log, interval(1e-3, 1e-1))", "network": "choice(unet, vnet)"}
ROOT = Path(__file__).parents[2]


class Launcher:
    """Runs `job(overrides)` for each of a batch and keeps the batches."""

    def __init__(self, job):
        self.job, self.batches, self.numbers = job, [], []

    def launch(self, job_overrides, initial_job_idx):
        self.batches.append([list(each) for each in job_overrides])
        self.numbers.append(initial_job_idx)
        returns = []
        for overrides in job_overrides:
            returned = JobReturn()
            try:
                returned.return_value, returned.status = self.job(overrides), JobStatus.COMPLETED
            except (ArithmeticError, DataError) as error:
                returned.return_value, returned.status = error, JobStatus.FAILED
            returns.append(returned)
        return returns

    @property
    def values(self):
        """The rates of all trials, in the order in which they ran."""
        return [rate(overrides) for batch in self.batches for overrides in batch]


def rate(overrides):
    return float(next(each for each in overrides if each.startswith("optimizer.lr=")).partition("=")[2])


def sweeper(folder, launcher, command=(), **changes):
    options = {
        "n_trials": 3,
        "n_jobs": 1,
        "direction": "maximize",
        "seed": 0,
        "study_name": None,
        "storage": None,
        "max_failure_rate": 1.0,
        "params": PARAMS,
    }
    made = OptunaSweeper(**{**options, **changes}, command=command)
    made.settings.check()
    made.config = OmegaConf.create(
        {
            "name": "main",
            "output_root": str(folder / "out"),
            "task": {"name": "Mine"},
            "trainer": {"max_epochs": 2},
            "hydra": {
                "sweep": {"dir": str(folder / "sweep")},
                "overrides": {"hydra": []},
                "runtime": {"choices": {"experiment": "fast"}, "config_sources": []},
            },
        }
    )
    loader = SimpleNamespace(
        get_group_options=lambda group, *_, **__: GROUPS.get(group, []), load_sweep_config=lambda **_: None
    )
    made.hydra_context, made.launcher = SimpleNamespace(config_loader=loader), launcher
    return made


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)


def results(folder):
    return yaml.safe_load((folder / "sweep" / "optimization_results.yaml").read_text())


def test_each_trial_gets_the_command_line_and_its_values_and_the_best_is_saved(tmp_path, caplog):
    launcher = Launcher(rate)
    sweeper(tmp_path, launcher).sweep(["+task=Task04", "trainer.max_epochs=2"])
    assert [len(batch) for batch in launcher.batches] == [1, 1, 1]
    assert launcher.numbers == [0, 1, 2]
    assert all(batch[0][:2] == ["+task=Task04", "trainer.max_epochs=2"] for batch in launcher.batches)
    found = results(tmp_path)
    assert (found["name"], found["best_value"]) == ("optuna", max(launcher.values))
    assert found["best_params"]["optimizer.lr"] == max(launcher.values)
    assert found["trials"] == {"finished": 3, "failed": 0, "running": 0}
    assert found["storage"] == str(tmp_path / "out" / "Mine" / "sweeps" / "main.journal")
    assert [trial["value"] for trial in found["all_trials"]] == launcher.values
    assert f"val/dice {max(launcher.values):.4f}" in caplog.messages[-1]


def test_a_finished_study_runs_nothing_and_tells_the_best_again(tmp_path, caplog):
    sweeper(tmp_path, Launcher(rate)).sweep([])
    best, idle = caplog.messages[-1], Launcher(rate)
    sweeper(tmp_path, idle).sweep([])
    assert idle.batches == []
    assert "the study main has 3 finished trials, nothing to run" in caplog.messages
    assert caplog.messages[-1] == best


def test_more_trials_go_on(tmp_path):
    one, more = Launcher(rate), Launcher(rate)
    sweeper(tmp_path / "a", one, n_trials=5).sweep([])
    sweeper(tmp_path / "b", Launcher(rate), n_trials=2).sweep([])
    sweeper(tmp_path / "b", more, n_trials=5).sweep([])
    assert more.values == one.values[2:]


def test_several_run_at_once_but_never_more_than_are_asked_for(tmp_path):
    launcher = Launcher(rate)
    sweeper(tmp_path, launcher, n_trials=5, n_jobs=2).sweep([])
    assert [len(batch) for batch in launcher.batches] == [2, 2, 1]
    assert launcher.numbers == [0, 2, 4]
    assert len(set(launcher.values)) == 5


def failing_at(*numbers, error=None):
    calls = []

    def job(overrides):
        calls.append(overrides)
        if len(calls) - 1 in numbers:
            raise error or DataError("case 7: no label")
        return rate(overrides)

    return Launcher(job)


def test_a_trial_that_fails_does_not_end_the_sweep(tmp_path, caplog):
    launcher = failing_at(1)
    sweeper(tmp_path, launcher).sweep([])
    assert len(launcher.batches) == 3
    found = results(tmp_path)
    assert found["trials"] == {"finished": 2, "failed": 1, "running": 0}
    assert found["all_trials"][1] | {"params": 0} == {
        "number": 1,
        "state": "failed",
        "value": None,
        "params": 0,
        "reason": "case 7: no label",
    }
    assert "trial 1 failed: case 7: no label" in caplog.text


def test_the_same_command_makes_up_for_failed_trials(tmp_path):
    sweeper(tmp_path, failing_at(1)).sweep([])
    again = Launcher(rate)
    sweeper(tmp_path, again).sweep([])
    assert len(again.batches) == 1
    assert results(tmp_path)["trials"] == {"finished": 3, "failed": 1, "running": 0}


def test_a_sweep_of_failures_fails_with_their_reasons(tmp_path):
    with pytest.raises(JobError, match=r"no trial of the study main has a score:\n  trial 0: division\n  trial 1: div"):
        sweeper(tmp_path, failing_at(0, 1, 2, error=ZeroDivisionError("division"))).sweep([])


def test_too_many_failures_end_the_sweep(tmp_path):
    launcher = failing_at(1, 2, 3, 4)
    with pytest.raises(JobError, match=r"3 of 6 trials failed, more than hydra.sweeper.max_failure_rate=0.4"):
        sweeper(tmp_path, launcher, n_trials=6, max_failure_rate=0.4).sweep([])
    assert len(launcher.batches) == 4
    assert results(tmp_path)["trials"]["finished"] == 1


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (None, "returned no val/dice"),
        (float("nan"), "must be finite, got nan"),
        (float("inf"), "must be finite, got inf"),
        ("0.5", "must return a number as val/dice, got '0.5'"),
        (True, "got True"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RuntimeError(1, "two\nlines"), "two lines"),
    ],
)
def test_what_is_no_score_is_a_failure(outcome, reason):
    assert reason in why_unusable(outcome)


@pytest.mark.parametrize("outcome", [0.0, 1, -0.5])
def test_what_is_a_score(outcome):
    assert why_unusable(outcome) is None


def test_when_a_launcher_gives_up_a_batch_its_trials_run_one_by_one(tmp_path):
    class Fragile(Launcher):
        def launch(self, job_overrides, initial_job_idx):
            if len(job_overrides) > 1 or len(self.batches) == 2:
                self.batches.append(job_overrides)
                raise BrokenPipeError("a worker was killed")
            return super().launch(job_overrides, initial_job_idx)

    launcher = Fragile(rate)
    sweeper(tmp_path, launcher, n_jobs=3).sweep([])
    assert [len(batch) for batch in launcher.batches] == [3, 1, 1, 1]
    found = results(tmp_path)
    assert found["trials"] == {"finished": 2, "failed": 1, "running": 0}
    assert found["all_trials"][1]["reason"] == "a worker was killed"


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.sweeps.test_sweeper import Launcher, rate, sweeper

folder, calls = Path(sys.argv[1]), []
def job(overrides):
    calls.append(overrides)
    if len(calls) == 3:
        (folder / "killed").write_text(repr(rate(overrides)))
        os.kill(os.getpid(), signal.SIGKILL)
    return rate(overrides)
sweeper(folder, Launcher(job), n_trials=5).sweep([])
"""


def test_after_kill_9_the_interrupted_trial_runs_again_with_its_values(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    rest, whole = Launcher(rate), Launcher(rate)
    sweeper(tmp_path, rest, n_trials=5).sweep([])
    assert rest.values[0] == float((tmp_path / "killed").read_text())
    sweeper(tmp_path / "other", whole, n_trials=5).sweep([])
    assert rest.values == whole.values[2:]
    assert results(tmp_path)["trials"] == {"finished": 5, "failed": 0, "running": 0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials must be at least 1, got 0"),
        ({"n_jobs": 0}, "hydra.sweeper.n_jobs must be at least 1, got 0"),
        ({"seed": -1}, "hydra.sweeper.seed must be at least 0, got -1"),
        ({"direction": "up"}, "hydra.sweeper.direction must be maximize or minimize, got 'up'"),
        ({"max_failure_rate": 1.5}, "hydra.sweeper.max_failure_rate must be between 0 and 1, got 1.5"),
        ({"storage": "sqlite:///a.db"}, "hydra.sweeper.storage must be a file.*sqlite"),
    ],
)
def test_wrong_keys_are_refused(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        sweeper(tmp_path, Launcher(rate), **changes)


def test_a_choice_that_is_not_offered_is_refused_before_anything_runs(tmp_path):
    launcher = Launcher(rate)
    with pytest.raises(UsageError, match="unknown network 'unett', did you mean 'unet'"):
        sweeper(tmp_path, launcher, params={**PARAMS, "network": "choice(vnet, unett)"}).sweep([])
    assert launcher.batches == []


def test_the_storage_and_the_study_may_be_chosen(tmp_path):
    path = tmp_path / "else" / "mine.txt"
    sweeper(tmp_path, Launcher(rate), storage=str(path), study_name="first").sweep([])
    sweeper(tmp_path, Launcher(rate), storage=str(path), study_name="second", n_trials=1).sweep([])
    assert results(tmp_path)["trials"]["finished"] == 1
    assert path.is_file()
    assert not (tmp_path / "out").exists()


def experiment(folder):
    return yaml.safe_load((folder / "configs" / "experiment" / "best_main.yaml").read_text())


def test_the_best_trial_becomes_a_command_and_an_experiment(tmp_path):
    words = ["-m", "+task=Task04", "hparams_search=optuna", "folds=0", "output_root=a b", "hydra.sweeper.n_trials=3"]
    given = ["+task=Task04", "hparams_search=optuna", "folds=0", "output_root='a b'", "trainer.max_epochs=2", "~tags"]
    sweeper(tmp_path, Launcher(rate), [*words, "trainer.max_epochs=2", "optimizer.lr=interval(1,2)"]).sweep(given)
    found, best = results(tmp_path), experiment(tmp_path)
    lr, network = found["best_params"]["optimizer.lr"], found["best_params"]["network"]
    assert found["command"] == (
        "python -m segfw +task=Task04 'output_root=a b' trainer.max_epochs=2 "
        f"optimizer.lr={lr!r} network={network} name=main_best"
    )
    assert best == {
        "defaults": ["fast", "_self_", {"override /network": network}],
        "name": "main_best",
        "trainer": {"max_epochs": 2},
        "optimizer": {"lr": lr},
    }
    assert "# Not held here, give it as well: ~tags" in Path("configs/experiment/best_main.yaml").read_text()


def test_a_persons_own_experiment_is_left_alone_and_the_sweeps_is_brought_up_to_date(tmp_path, caplog):
    file = tmp_path / "configs" / "experiment" / "best_main.yaml"
    sweeper(tmp_path, Launcher(rate), n_trials=1).sweep([])
    first = file.read_text()
    sweeper(tmp_path, Launcher(lambda overrides: 2.0), n_trials=2).sweep([])
    assert file.read_text() != first
    file.write_text("# mine\n")
    sweeper(tmp_path, Launcher(rate), n_trials=3).sweep([])
    assert file.read_text() == "# mine\n"
    assert "was left alone" in caplog.messages[-1]
    assert "The best of 3" in (tmp_path / "out/Mine/sweeps/main/experiment/best_main.yaml").read_text()
