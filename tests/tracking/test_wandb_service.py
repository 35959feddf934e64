"""No process, thread or hook of W&B's outlives the run that it serves, however that ends, and each end is told."""

import gc
import logging
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import wandb

from scripts.benchmarks.common import descendants
from segfw.core.errors import JobError, TimeIsOver
from segfw.core.settings.tracking import LoggerSettings
from segfw.tracking.fan_out import telling
from segfw.tracking.trackers import TrackedRun
from segfw.tracking.wandb_log import STATE, load_state, open_wandb
from segfw.tracking.wandb_service import RUNNING
from tests.tracking.tracked import tracked_run, values
from tests.tracking.wandb_records import offline_runs, read_run

OFFLINE = LoggerSettings(wandb=True, mode="offline")


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without W&B; a developer's own account and settings stay out of it."""
    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)


def processes() -> list[int]:
    """Return the processes of W&B's below this one."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        found += [pid] if b"wandb-core" in words else []
    return found


def traces() -> tuple[object, ...]:
    """Return all that W&B changes of this process."""
    threads = {thread.name for thread in threading.enumerate() if "wandb" in thread.name.lower()}
    return threads, processes(), os.environ.get(RUNNING), sys.exit, sys.excepthook


def told_end(run: TrackedRun) -> list[int | None]:
    """Return the exit status of each part of a run."""
    state = load_state(run.folder / STATE)
    assert state is not None
    return [read_run(folder).exit_code for folder in offline_runs(run.root, state.id)]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (None, 0),
        (JobError("the loss is not finite"), 1),
        (KeyboardInterrupt(), 255),
        (SystemExit(143), 255),
        (TimeIsOver("trainer.max_time is over"), 255),
    ],
    ids=repr,
)
def test_nothing_of_it_outlives_the_run(tmp_path: Path, ending: BaseException | None, status: int) -> None:
    before, run = traces(), tracked_run(tmp_path)
    for _ in range(2):  # the second as a second fold, or a training that goes on
        try:
            with telling({"wandb": lambda: open_wandb(run, OFFLINE)}, ()) as trackers:
                trackers.scalars(values(0), 0)
                assert len(processes()) == 1
                if ending is not None:
                    raise ending
        except BaseException as error:
            if error is not ending:
                raise
        assert traces() == before
    assert told_end(run) == [status, status]


def test_no_temporary_file_outlives_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with telling({"wandb": lambda: open_wandb(tracked_run(tmp_path), OFFLINE)}, ("tables",)) as trackers:
        trackers.table("val/cases", ["case", "dice"], [["ann", 0.5]])
        assert list((tmp_path / "temporary").rglob("*.json")) != []
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_last_of_several_runs_ends_it(tmp_path: Path) -> None:
    before, runs = traces(), [tracked_run(tmp_path, fold) for fold in range(2)]
    with telling({"first": lambda: open_wandb(runs[0], OFFLINE), "second": lambda: open_wandb(runs[1], OFFLINE)}, ()):
        assert len(processes()) == 1
    assert traces() == before
    assert [told_end(run) for run in runs] == [[0], [0]]


def test_what_the_user_has_begun_goes_on(tmp_path: Path) -> None:
    theirs = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True, console="off"))
    running = processes()
    with telling({"wandb": lambda: open_wandb(tracked_run(tmp_path), OFFLINE)}, ()):
        pass
    assert processes() == running
    theirs.log({"x": 1})
    theirs.finish()
    wandb.teardown()
    assert processes() == []


def test_a_process_that_was_killed_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opener = {"wandb": lambda: open_wandb(tracked_run(tmp_path), OFFLINE)}
    with caplog.at_level(logging.WARNING), telling(opener, ()):
        (pid,) = processes()
        os.kill(pid, signal.SIGKILL)
    assert "logger wandb fails and is left out from here on, the work goes on" in caplog.text
    assert (processes(), RUNNING in os.environ) == ([], False)
    with telling(opener, ()):
        assert len(processes()) == 1
    assert processes() == []
