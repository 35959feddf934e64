"""Two processes on gloo, started by the launcher, beside one that trains alone."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segfw.core.errors import JobError
from segfw.core.plan import Plan
from segfw.core.support.conversion import to_plain
from segfw.training.checkpoints import network_weights
from segfw.training.fit import FoldResult
from segfw.training.launch import Failure, _explained, launch
from segfw.training.run import FoldRun
from tests.stages.test_executor import comes_true, is_running
from tests.training.conftest import make_plan
from tests.training.rank_program import GRADIENTS, RUN, KeepGradients
from tests.training.test_fit import without_seconds

PROGRAM = "tests.training.rank_program"
MakeRun = Callable[..., FoldRun]
Fit = Callable[..., FoldResult]


def plan_of_threes(batch_dice: bool) -> Plan:
    """A plan whose batch of 3 is shared by two ranks as 2 and 1."""
    plan = make_plan()
    changed = replace(plan.configurations["3d_fullres"], batch_size=3, batch_dice=batch_dice)
    return replace(plan, configurations={"3d_fullres": changed})


def fit_in_two(run: FoldRun, folder: Path, action: str = "train") -> None:
    folder.mkdir(exist_ok=True)
    (folder / RUN).write_text(json.dumps(to_plain(run)))
    launch(PROGRAM, [str(folder), action], 2)


@pytest.mark.slow
@pytest.mark.parametrize("batch_dice", [True, False])
def test_two_ranks_train_like_one(make_run: MakeRun, fit: Fit, tmp_path: Path, batch_dice: bool) -> None:
    plan, cases = plan_of_threes(batch_dice), {"train_cases": ("a",), "val_cases": ("b", "c")}
    run = make_run(max_epochs=2, plan=plan, **cases)
    one, two = tmp_path / "one", tmp_path / "two"
    result = fit(run, one, KeepGradients(one))
    if batch_dice:
        fit_in_two(run, two)
        ours, theirs = torch.load(one / GRADIENTS), torch.load(two / GRADIENTS)
        assert all(torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-7) for name in ours)
    else:  # the second epoch alone, from where one process came
        fit(replace(run, trainer=replace(run.trainer, max_epochs=1)), two)
        fit_in_two(run, two)
    ours, theirs = (network_weights(folder / "checkpoints/last.ckpt") for folder in (one, two))
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-6) for name in ours)
    for alone, shared in zip(without_seconds(one), without_seconds(two), strict=True):
        assert {key: float(value) for key, value in shared.items() if value} == pytest.approx(
            {key: float(value) for key, value in alone.items() if value}, rel=1e-4, abs=1e-4
        )
    scores = json.loads((two / "validation/metrics.json").read_text())
    assert result.scores is not None
    assert [case["case"] for case in scores["cases"]] == ["b", "c"]
    assert scores["foreground_mean"]["dice"] == pytest.approx(result.scores.foreground_mean["dice"], abs=1e-3)
    assert (two / "validation/.scored-1.json").is_file()
    assert (two / "train.log").read_text().count("epoch 2/2  loss") == 1


@pytest.mark.slow
def test_a_killed_rank_ends_the_others_and_the_training_goes_on(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(max_epochs=2)
    begun = time.monotonic()
    with pytest.raises(JobError, match=r"rank 1 of 2 was killed by SIGKILL .*again to go on from the last checkpoint"):
        fit_in_two(run, tmp_path, "kill")
    assert time.monotonic() - begun < 100
    assert not Path(f"/proc/{(tmp_path / 'pid_0').read_text()}").exists()
    fit_in_two(run, tmp_path)
    assert [row["epoch"] for row in without_seconds(tmp_path)] == ["0", "1"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank_names_the_cases_of_all(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"not finite in epoch 1, step 0.*cases \['a', 'b'\]"):
        fit_in_two(make_run(max_epochs=2), tmp_path, "spoil")
    assert network_weights(tmp_path / "checkpoints/last.ckpt")


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_keeps_its_traceback(
    make_run: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(JobError, match=r"rank 1 of 2 failed, .*ZeroDivisionError: nobody foresaw this"):
        fit_in_two(make_run(max_epochs=2), tmp_path, "fail")
    assert "in fail" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(make_run: MakeRun, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / RUN).write_text(json.dumps(to_plain(make_run(max_epochs=2))))
    code = f"from segfw.training.launch import launch; launch({PROGRAM!r}, [{str(tmp_path)!r}, 'stay'], 2)"
    command = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    files = [tmp_path / f"pid_{rank}" for rank in range(2)]
    assert comes_true(lambda: all(path.exists() and path.read_text() for path in files), 150)
    pids = [int(path.read_text()) for path in files]
    command.send_signal(number)
    command.wait(60)
    assert comes_true(lambda: not any(is_running(pid) for pid in pids), 60)


@pytest.mark.slow
def test_a_launcher_leaves_whose_command_was_killed_while_it_began(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    arguments = [str(gone.pid), str(tmp_path), "1", "tests.training.rank_program", str(tmp_path), "stay"]
    launcher = subprocess.run([sys.executable, "-m", "segfw.training.launch", *arguments], timeout=120, check=False)
    assert launcher.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


def test_the_cause_is_told_before_its_consequences() -> None:
    lost = Failure(0, 1, "RuntimeError: Connection closed by peer", "trace", time=1)
    late = Failure(2, 1, "DataError: case x: damaged", "trace", time=3)
    first = Failure(1, 1, "JobError: the loss is not finite", "trace", time=2)
    killed = Failure(3, -9)
    ended = Failure(4, -15)
    left = Failure(5, 5)
    order = sorted([ended, lost, left, late, first, killed], key=lambda failure: failure.order)
    assert order == [killed, first, late, left, lost, ended]
    assert "rank 5 of 6 failed, the others were ended: it ended with status 5" in str(_explained([left, lost], 6, 1))
    error = _explained(order[1:], 5, 1)
    assert (type(error), str(error)) == (JobError, "the loss is not finite")
    assert "ended with status 7" in str(_explained([], 2, 7))
