"""Why a training has failed is kept beside it; an interruption is no failure."""

import json
from pathlib import Path

import pytest

from segfw.core.errors import JobError, TimeIsOver
from segfw.core.support.locks import Lock, hold
from segfw.stages.trainings.failures import forget_failure, load_failure, noting_failure


def fail(folder: Path, lock: Lock, error: BaseException) -> None:
    with pytest.raises(type(error)), noting_failure(folder, lock):
        raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (JobError("the loss is nan in epoch 3\nmore"), "the loss is nan in epoch 3"),
        (ZeroDivisionError("by zero"), "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_a_failure_is_kept_in_one_line_until_it_is_forgotten(tmp_path: Path, error: BaseException, reason: str) -> None:
    with hold(tmp_path / "x.lock", "x") as lock:
        fail(tmp_path, lock, error)
    failure = load_failure(tmp_path)
    assert failure is not None
    assert failure.reason == reason
    assert failure.when[:2] == "20"
    forget_failure(tmp_path)
    assert load_failure(tmp_path) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), TimeIsOver("trainer.max_time is over")])
def test_an_interruption_is_no_failure(tmp_path: Path, error: BaseException) -> None:
    with hold(tmp_path / "x.lock", "x") as lock:
        fail(tmp_path, lock, error)
    assert load_failure(tmp_path) is None


def test_nothing_is_left_in_a_folder_that_another_command_has_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with hold(path, "x") as lock:
        path.write_text(json.dumps({"token": "other", "host": "elsewhere", "pid": 1}))
        fail(tmp_path, lock, JobError("lost the lock"))
    assert load_failure(tmp_path) is None
