"""Signals during a training: it is left between two steps, with all that is done saved, and ends as if undisturbed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.core.support.parents import EXIT_AFTER_SIGTERM
from segfw.training.fit import FoldResult
from segfw.training.leaving import Leaving
from segfw.training.run import FoldRun
from tests.training.test_resuming import Steps, assert_same, settings

MakeRun = Callable[..., FoldRun]
Fit = Callable[..., FoldResult]
RARELY = 10.0  # minutes between checkpoints: none within an epoch


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the signals' handlers back after a test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Signal(Callback):
    """Send this process signals in the midst of step 1 of epoch 1, or in the on-line validation of epoch 1."""

    def __init__(self, *numbers: int, validating: bool = False) -> None:
        self.numbers, self.validating = numbers, validating

    def _send(self) -> None:
        for number in self.numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # between two instructions the handler is called

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx, self.validating) == (1, 1, False):
            self._send()

    def on_validation_batch_start(self, trainer: Trainer, *_: object) -> None:
        if (trainer.current_epoch, self.validating) == (1, True):
            self._send()


@pytest.mark.parametrize(
    ("sent", "raised", "goes_on_at"),
    [
        (Signal(signal.SIGTERM), SystemExit, (1, 2)),
        (Signal(signal.SIGINT), KeyboardInterrupt, (1, 2)),
        (Signal(signal.SIGTERM, validating=True), SystemExit, (2, 0)),
        (Signal(signal.SIGINT, signal.SIGINT), KeyboardInterrupt, (1, 0)),  # impatient: what was saved last stays
        (Signal(signal.SIGTERM, signal.SIGTERM), SystemExit, (1, 0)),
    ],
    ids=["SIGTERM", "Ctrl-C", "validating", "Ctrl-C twice", "SIGTERM twice"],
)
def test_the_step_at_hand_is_saved(
    make_run: MakeRun, fit: Fit, tmp_path: Path, sent: Signal, raised: type[BaseException], goes_on_at: tuple[int, int]
) -> None:
    run = make_run(trainer=settings(checkpoint_minutes=RARELY))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    fit(run, tmp_path / "whole")
    with pytest.raises(raised) as ended:
        fit(run, tmp_path / "cut", sent)
    assert raised is not SystemExit or ended.value.code == EXIT_AFTER_SIGTERM  # type: ignore[attr-defined]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    steps = Steps()
    fit(run, tmp_path / "cut", steps)
    assert steps.made[0] == goes_on_at
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.usefixtures("handlers")
def test_who_only_warns_is_answered_and_the_training_goes_on(make_run: MakeRun, fit: Fit, tmp_path: Path) -> None:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    steps = Steps()
    fit(make_run(trainer=settings(checkpoint_minutes=RARELY)), tmp_path, Signal(signal.SIGTERM), steps)
    assert told == [signal.SIGTERM]
    assert len(steps.made) == 15


@pytest.mark.usefixtures("handlers")
def test_a_job_of_submitit_saves_before_it_is_queued_again(
    make_run: MakeRun, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    from submitit.core.job_environment import SignalHandler
    from submitit.core.utils import DelayedSubmission, JobPaths
    from submitit.slurm.slurm import SlurmJobEnvironment

    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!{sys.executable}\nimport sys\nopen({str(asked)!r}, 'a').write(' '.join(sys.argv[1:]))\n")
    scontrol.chmod(0o755)
    for name, value in {"PATH": f"{scontrol.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "12"}.items():
        monkeypatch.setenv(name, value)
    job = DelayedSubmission(Resubmitted())
    job.set_timeout(60, 1)
    answer = SignalHandler(SlurmJobEnvironment(), JobPaths(tmp_path / "job", "12"), job)
    signal.signal(signal.SIGTERM, answer.bypass)
    signal.signal(signal.SIGUSR2, answer.checkpoint_and_try_requeue)
    (tmp_path / "job").mkdir()
    run = make_run(trainer=settings(checkpoint_minutes=RARELY))
    with pytest.raises(SystemExit):
        fit(run, tmp_path / "cut", Signal(signal.SIGTERM, signal.SIGUSR2))
    assert asked.read_text() == "requeue 12"
    steps = Steps()
    fit(run, tmp_path / "cut", steps)
    assert steps.made[0] == (1, 2)


class Resubmitted:
    """What Hydra's launcher hands to submitit: a call that can be made again."""

    def __call__(self) -> None: ...

    def checkpoint(self, *arguments: Any) -> Any:
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self, *arguments)


@pytest.mark.usefixtures("handlers")
def test_a_step_without_an_end_is_left_after_a_while() -> None:
    def hang() -> None:
        leaving = Leaving(patience=0.2)
        with leaving.listening():
            leaving.begin()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hang()
    assert 0.2 < time.monotonic() - begun < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("handlers")
def test_a_failure_of_processes_that_got_the_signal_too_is_none(number: signal.Signals) -> None:
    def fail() -> None:
        leaving = Leaving()
        with leaving.listening():
            leaving.begin()
            os.kill(os.getpid(), number)
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        fail()


def test_without_steps_nothing_waits() -> None:
    def sleep() -> None:
        with Leaving().listening():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sleep()
    assert time.monotonic() - begun < 5
