"""A search through the program, with a job that only computes: what trials are given, and what is left of them."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import segfw.stages.pipeline as pipeline
from segfw.__main__ import main
from segfw.core.errors import DataError

SEARCH = ("-m", "+task=Task04", "hparams_search=optuna", "hydra.sweeper.n_trials=2")

LRR = "hydra.sweeper.params: unknown key 'optimizer.lrr', did you mean 'optimizer.lr'?"


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def jobs(monkeypatch):
    """Let each job return its rate; return the settings that jobs were given."""
    calls = []

    def run(settings, multirun=None):
        calls.append(settings)
        return settings.optimizer.lr

    monkeypatch.setattr(pipeline, "run", run)
    return calls


def run(capsys, *words):
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


def results():
    (path,) = sorted(Path("outputs/Task04_Hippocampus/sweeps").glob("*/optimization_results.yaml"))[-1:]
    return yaml.safe_load(path.read_text())


def test_a_search_is_cheap_honest_and_named_and_its_best_is_reproduced(capsys, jobs):
    extra = ("experiment=fast", "trainer.max_epochs=3", "data_root=a b,c", "hydra.sweeper.params.network=null")
    status, out, err = run(capsys, *SEARCH, *extra, "seed=choice(1,2)")
    assert (status, err) == (0, "")
    assert {s.stages for s in jobs} == {("fingerprint", "plan", "preprocess", "train")}
    assert {(s.folds, s.split.inner_share, s.selection.keep_logits) for s in jobs} == {((0,), 0.2, False)}
    assert {(s.trainer.max_epochs, s.optimizer.name, s.network.name) for s in jobs} == {(3, "adamw", "planned")}
    assert all(re.fullmatch("fast_[0-9a-f]{8}", s.name) for s in jobs)
    assert len({s.name for s in jobs}) == 2
    best = max(jobs, key=lambda settings: settings.optimizer.lr)
    assert (results()["best_value"], f"val/dice {best.optimizer.lr:.4f}" in out) == (best.optimizer.lr, True)

    (command,) = re.findall(r"^  python -m segfw (.*)$", out, re.MULTILINE)
    for words in (shlex.split(command), ["+task=Task04", "data_root=a b,c", "experiment=best_fast"]):
        assert run(capsys, *words)[0] == 0
        again = jobs.pop()
        assert (again.name, again.data_root) == ("fast_best", "a b,c")
        assert (again.folds, again.split.inner_share, len(again.stages)) == ("cv", None, 6)
        for part in ("optimizer", "schedule", "augmentation", "network", "loss", "trainer", "plan", "seed"):
            assert getattr(again, part) == getattr(best, part), part


def test_the_same_command_runs_an_interrupted_trial_under_its_name_again(capsys, jobs, monkeypatch):
    def interrupted(settings, multirun=None):
        jobs.append(settings)
        if len(jobs) == 2:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(pipeline, "run", interrupted)
    assert run(capsys, *SEARCH)[0] == 130
    assert run(capsys, *SEARCH)[0] == 0
    assert [jobs[2].name, jobs[2].optimizer.lr] == [jobs[1].name, jobs[1].optimizer.lr]
    assert len(jobs) == 3


def test_a_failed_trial_is_told_and_the_sweep_goes_on(capsys, jobs, monkeypatch):
    def fail(settings, multirun=None):
        jobs.append(settings)
        if len(jobs) == 1:
            raise DataError("case 7: no label")
        return None if len(jobs) == 2 else 0.25

    monkeypatch.setattr(pipeline, "run", fail)
    status, _, err = run(capsys, *SEARCH, "hydra.sweeper.n_trials=3")
    assert (status, "segfw: case 7: no label\n" in err) == (0, True)
    reasons = [trial.get("reason", "") for trial in results()["all_trials"]]
    assert (reasons[0], reasons[1][:26], reasons[2]) == ("case 7: no label", "the job returned no val/di", "")


def test_folds_and_ranges_are_the_users_and_dash_m_may_be_left_out(capsys, jobs):
    ranges = ("hydra.sweeper.params.optimizer.lr=interval(5,6)", "network=vnet", "seed=1,2")
    assert run(capsys, *SEARCH[1:], "hydra.sweeper.n_trials=1", "folds=[1,2]", "split.inner_share=0.5", *ranges)[0] == 0
    (settings,) = jobs
    assert (settings.folds, settings.split.inner_share, settings.network.name) == ((1, 2), 0.5, "vnet")
    assert 5 <= settings.optimizer.lr <= 6
    assert settings.seed in (1, 2)
    assert "network" not in results()["best_params"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra.sweeper.ntrials=3"], "unknown key 'hydra.sweeper.ntrials', did you mean 'n_trials'?"),
        (["+hydra.sweeper.ntrials=3", "dry_run=true"], "unknown key 'hydra.sweeper.ntrials', did you mean 'n_trials'?"),
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be at least 1, got 0"),
        (["hydra.sweeper.params.optimizer.lrr=interval(1,2)", "dry_run=true"], LRR),
        (["+hydra.sweeper.params.optimizer.lrr=interval(1,2)"], LRR),
        (["hydra.sweeper.params.optimizer.lrr=null"], LRR),
        (["folds=full"], "split.inner_share=0.2 holds cases out of a fold, got folds=full"),
        (["hparams_search=optunas"], "unknown hparams_search 'optunas', did you mean 'optuna'?"),
    ],
)
def test_a_wrong_search_is_explained_with_status_2(capsys, jobs, words, message):
    status, _, err = run(capsys, *SEARCH, *words)
    assert (status, message in err) == (2, True), err
    assert jobs == []


def test_ranges_of_the_users_file_are_checked_and_keys_of_another_sweeper_are_not(capsys, jobs):
    folder = Path("configs/hparams_search")
    folder.mkdir(parents=True)
    ranges = "{network.arguments.depth: 'choice(1,2)', sede: 1}"
    (folder / "mine.yaml").write_text(
        f"# @package _global_\ndefaults: [optuna]\nhydra: {{sweeper: {{params: {ranges}}}}}\n"
    )
    status, _, err = run(capsys, "-m", "+task=Task04", "hparams_search=mine")
    assert (status, "unknown key 'sede', did you mean 'seed'?" in err) == (2, True), err
    foreign = Path("configs/hydra/sweeper/foreign.yaml")
    foreign.parent.mkdir(parents=True)
    foreign.write_text("_target_: mine.Sweeper\nntrials: 1\nparams: {lrr: 1}\n")
    assert (
        run(capsys, "experiment", "+task=Task04", "hydra/sweeper=foreign", "hydra.sweeper.ntrials=3", "--help")[0] == 0
    )
    assert jobs == []


def test_dry_run_tells_what_is_searched_and_what_is_finished_and_writes_nothing(capsys, jobs):
    words = (*SEARCH, "seed=1,2", "hydra.sweeper.params.network=null")
    dry = (*words, "hydra.sweeper.n_trials=5", "dry_run=true")
    path = "outputs/Task04_Hippocampus/sweeps/main.journal"
    status, out, err = run(capsys, *dry)
    assert (status, err, Path("outputs").exists()) == (0, "", False)
    assert "5 trials are wanted, 0 finished, 5 would be run, 1 at once" in out
    assert f"study main in {path}, which would be made" in out
    assert re.findall(r"^  (\S+): (.*)$", out, re.MULTILINE) == [
        ("optimizer.lr", "interval(0.001,0.03) log"),
        ("optimizer.weight_decay", "interval(1e-06,0.01) log"),
        ("augmentation", "choice(default,light,strong)"),
        ("seed", "choice(1,2)"),
    ]
    assert run(capsys, *words)[0] == 0
    before = {file: file.stat().st_mtime_ns for file in Path().rglob("*")}
    assert "5 trials are wanted, 2 finished, 3 would be run" in run(capsys, *dry)[1]
    status, _, err = run(capsys, *dry, "loss=dice_topk")
    assert (status, f"the study main ({path}) was begun with other settings" in err) == (2, True), err
    status, _, err = run(capsys, *dry, "hydra.sweeper.params.optimizer.lr=interval(2,1)")
    assert (status, "low below high" in err) == (2, True)
    assert {file: file.stat().st_mtime_ns for file in Path().rglob("*")} == before


def test_help_shows_what_a_search_sets(capsys, jobs):
    status, out, _ = run(capsys, "experiment", *SEARCH[1:3], "--help")
    assert status == 0
    assert re.search(r"^  inner_share: 0.2 ", out, re.MULTILINE)
