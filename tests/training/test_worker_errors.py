"""Workers that raise, are killed, or have no shared memory to send their batches through."""

import logging
import multiprocessing
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from segfw.core.errors import ArtefactError, JobError
from segfw.data.sampling import EpochBatchSampler, collate
from segfw.training import worker_errors
from segfw.training.worker_errors import (
    Guarded,
    PatchLoader,
    collate_or_fail,
    explain_death,
    explained_worker_deaths,
    find_ended,
    workers_that_fit,
)


class Patches:
    """Batches of one number, or what `fail` does instead."""

    def __init__(self, fail=None) -> None:
        self.fail = fail

    def __getitems__(self, keys):
        if self.fail is not None and keys[0][1] >= 4:
            self.fail()
        return {"image": torch.tensor([index for _, index in keys])}


def raise_value_error():
    error = ValueError("a strange voxel")
    error.add_note("in a patch of the case 'la_003', sample 4 of epoch 0")
    raise error


def raise_expected():
    raise ArtefactError("la_003.image.npy is damaged")


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def loader(fail=None, workers=1):
    sampler = EpochBatchSampler(4, 2)
    return PatchLoader(
        Guarded(Patches(fail)), batch_sampler=sampler, collate_fn=partial(collate_or_fail, collate), num_workers=workers
    )


def test_batches_pass() -> None:
    assert [batch["image"].tolist() for batch in loader()] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_an_exception_names_the_case_and_its_traceback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    expected = r"ValueError: a strange voxel \(in a patch of the case 'la_003', sample 4 of epoch 0\); .*data.workers=0"
    with caplog.at_level(logging.INFO, "segfw"), pytest.raises(JobError, match=expected):
        list(loader(raise_value_error))
    assert "in raise_value_error" in caplog.text


def test_an_expected_error_keeps_its_words() -> None:
    with pytest.raises(ArtefactError, match=r"^la_003.image.npy is damaged$"):
        list(loader(raise_expected))


def test_a_killed_worker() -> None:
    expected = (
        r"was ended by the signal Killed, which is how .* memory is short; .* GB of memory are free.*data.workers"
    )
    with pytest.raises(JobError, match=expected), explained_worker_deaths():
        list(loader(kill))


class BrokenBatches:
    """What a loader iterates over, whose worker hangs up, or is gone without PyTorch knowing why."""

    def __init__(self, workers, error: Exception | None = None) -> None:
        self._workers, self.shut_down = workers, False
        self.error = error or ConnectionResetError("Connection reset by peer")

    def __iter__(self):
        raise self.error

    def _shutdown_workers(self) -> None:
        self.shut_down = True


@pytest.mark.parametrize(
    ("end", "told"), [(kill, r"pid \d+\) was ended by the signal Killed"), (sys.exit, r"pid \d+\) ended by itself")]
)
@pytest.mark.parametrize("gone", [True, False])
def test_a_worker_that_ends_while_it_hands_over_a_batch(
    end, told: str, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = multiprocessing.get_context("fork").Process(target=end)
    worker.start()
    error = RuntimeError(f"DataLoader worker (pid(s) {worker.pid}) exited unexpectedly") if gone else None
    batches = BrokenBatches([worker], error)
    monkeypatch.setattr(DataLoader, "__iter__", lambda self: batches)
    with pytest.raises(JobError, match=told), explained_worker_deaths():
        list(loader())
    assert batches.shut_down


def test_a_broken_connection_without_an_ended_worker_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataLoader, "__iter__", lambda self: BrokenBatches([]))
    with pytest.raises(ConnectionResetError, match="reset by peer"), explained_worker_deaths():
        list(loader())
    assert find_ended([], 0) is None


def test_an_error_of_something_else_passes() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained_worker_deaths():
        raise RuntimeError("shapes differ")
    assert explain_death("shapes differ") is None


def test_a_bus_error_means_too_little_shared_memory(tmp_path: Path) -> None:
    text = "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that workers are out of"
    told = explain_death(text, tmp_path)
    assert told is not None
    assert "(pid 12) was ended by the signal Bus error: shared memory ran out" in told
    assert f"MB are free in {tmp_path}" in told
    assert "--shm-size=8g" in told
    assert "data.workers" in told


def test_a_worker_that_ended_by_itself() -> None:
    told = explain_death("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    assert told is not None
    assert "(pid 12, 13) ended by itself" in told


def test_workers_fit_into_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = type("Usage", (), {"free": 64 * 10**6})
    monkeypatch.setattr(worker_errors.shutil, "disk_usage", lambda folder: usage)
    assert workers_that_fit(None, 4, 5 * 10**6, tmp_path) == 4  # 3 batches each: 60 MB
    assert workers_that_fit(None, 12, 5 * 10**6, tmp_path) == 4
    assert "12 processes that cut patches need 180 MB of shared memory, 64 MB are free" in caplog.text
    with pytest.raises(JobError, match=r"need 180 MB of shared memory, 64 MB .*--shm-size=8g.*set data.workers=4"):
        workers_that_fit(12, 12, 5 * 10**6, tmp_path)
    assert workers_that_fit(12, 12, 5 * 10**6, tmp_path / "missing") == 12


def test_a_temporary_folder_too_long_for_sockets_is_named_instead_of_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    longest = "/tmp/" + "t" * 66  # with /pymp-12345678/listener-12345678 103 bytes
    monkeypatch.setattr("tempfile.tempdir", longest + "t")
    with pytest.raises(JobError, match=r"has a name of 72 bytes, but .* at most 71: set TMPDIR"):
        next(iter(loader()))
    assert next(iter(loader(workers=0)))["image"].numel() > 0  # nothing is handed over
    worker_errors.refuse_long_temporary_folder(longest)
