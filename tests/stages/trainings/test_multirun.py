"""Which job of a multirun selects, and what each is given of the computer."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from segfw.core.errors import JobError
from segfw.core.settings.multirun import Multirun
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.training import TrainerSettings
from segfw.core.support import cpu
from segfw.core.support.cpu import available_cores
from segfw.core.support.job_board import make_board
from segfw.stages.job import Job
from segfw.stages.trainings import multirun as module
from segfw.stages.trainings.multirun import runs_of_all, sharing_the_computer, turn_to_select
from segfw.stages.trainings.runs import Done, run_folder
from segfw.training.run import DONE
from segfw.workspace import Workspace, to_yaml

SETTINGS = ExperimentSettings(folds=(0,), configurations=("2d",), stages=("train", "select"))
EPOCHS = TrainerSettings().max_epochs
OFFERED = {"2d": None, "3d_lowres": None, "3d_cascade_fullres": "3d_lowres"}


@pytest.fixture
def multirun(tmp_path):
    make_board(tmp_path / "board")
    return Multirun(((0,), (1,)), (("2d",),), 2, str(tmp_path / "board"))


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job with three folds and three configurations, whose plan nobody has to make."""
    configurations = {name: SimpleNamespace(previous_stage=previous) for name, previous in OFFERED.items()}
    monkeypatch.setattr(Job, "generated_plan", SimpleNamespace(configurations=configurations))
    monkeypatch.setattr(Job, "splits", ((), (), ()))
    return Job(SETTINGS, Workspace(tmp_path / "out"), None)  # type: ignore[arg-type]


def finish(job, fold, epochs=EPOCHS):
    folder = run_folder(job, "2d", fold)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE).write_text(to_yaml(Done(epochs, 1, "", "", None, 0.5, {})))


def asks(job, multirun):
    with turn_to_select(job, multirun) as turn:
        return turn


def test_the_last_one_selects_and_the_first_says_whom_it_leaves_it_to(job, multirun, caplog):
    caplog.set_level("INFO")
    finish(job, 0)
    assert not asks(job, multirun)
    assert "left to the last of the jobs of name=main, 1 run is not finished yet: 2d fold 1" in caplog.text
    finish(job, 1)
    assert asks(job, multirun)
    assert not asks(job, multirun)
    assert "nothing to do, another job of name=main has done both" in caplog.text


def test_a_selection_that_failed_is_no_selection(job, multirun):
    finish(job, 0), finish(job, 1)
    with pytest.raises(JobError), turn_to_select(job, multirun):
        raise JobError("the disk is full")
    assert asks(job, multirun)


def test_a_run_that_is_finished_anew_is_selected_from_anew(job, multirun):
    finish(job, 0), finish(job, 1)
    assert asks(job, multirun)
    time.sleep(0.01)
    finish(job, 1)
    assert asks(job, multirun)


def test_a_run_of_fewer_epochs_is_not_finished(job, multirun):
    finish(job, 0, EPOCHS - 1), finish(job, 1)
    assert not asks(job, multirun)


def test_what_is_overwritten_counts_from_the_beginning_of_the_multirun(job, tmp_path, multirun):
    job = replace(job, settings=replace(SETTINGS, overwrite=True))
    finish(job, 0), finish(job, 1)
    time.sleep(0.01)
    make_board(tmp_path / "board")
    assert not asks(job, multirun)
    finish(job, 0)
    assert not asks(job, multirun)
    finish(job, 1)
    assert asks(job, multirun)


@pytest.mark.parametrize(
    ("folds", "configurations", "runs"),
    [
        (((0, 2), "full"), (("2d",),), [("2d", 0), ("2d", 2), ("2d", "full")]),
        (("cv",), (("2d",), ("3d_lowres",)), [(name, k) for name in ("2d", "3d_lowres") for k in range(3)]),
        (((1,),), ("auto",), [("2d", 1), ("3d_lowres", 1)]),  # the second stage may wait for folds of other jobs
        (((1,),), (("2d", "nope"),), [("2d", 1)]),
    ],
)
def test_the_runs_of_all_jobs(job, multirun, folds, configurations, runs):
    assert runs_of_all(job, replace(multirun, folds=folds, configurations=configurations)) == runs


@pytest.mark.parametrize("attempt", range(20))
def test_of_jobs_that_finish_at_once_one_selects_and_sees_all(job, multirun, attempt, monkeypatch):
    sleep = time.sleep
    monkeypatch.setattr(
        "segfw.core.support.locks.time", SimpleNamespace(sleep=lambda seconds: sleep(0.002), time=time.time)
    )
    multirun = replace(multirun, folds=tuple((fold,) for fold in range(4)))
    together = threading.Barrier(4)
    seen = []

    def train(fold):
        together.wait()
        finish(job, fold)
        with turn_to_select(job, multirun) as turn:
            if turn:
                seen.append([(run_folder(job, "2d", each) / DONE).exists() for each in range(4)])
                sleep(0.01)

    threads = [threading.Thread(target=train, args=(fold,)) for fold in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [[True] * 4]


CARDS = TrainerSettings(accelerator="gpu")


@pytest.mark.parametrize(
    ("trainer", "at_once", "devices", "threads", "cores"),
    [
        (CARDS, 4, (0,), 2, 2),
        (CARDS, 1, 1, None, 8),
        (replace(CARDS, devices=(3,)), 4, (3,), 2, 2),
        (replace(CARDS, devices=2), 2, 2, 2, 4),
        (replace(CARDS, threads=5), 4, (0,), 5, 2),
        (replace(CARDS, accelerator="cpu"), 4, 1, 2, 2),
    ],
)
def test_each_job_has_its_part_of_the_computer(
    trainer, at_once, devices, threads, cores, multirun, tmp_path, monkeypatch
):
    monkeypatch.setattr(cpu, "_cores", lambda cgroup: 8)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    settings = ExperimentSettings(output_root=str(tmp_path), trainer=trainer)
    with sharing_the_computer(settings, replace(multirun, at_once=at_once)) as own:
        assert (own.trainer.devices, own.trainer.threads, available_cores()) == (devices, threads, cores)
        claimed = list((tmp_path / module.CLAIMS).glob("*.lock"))
        assert len(claimed) == (devices == (0,))
    assert available_cores() == 8
    assert not list((tmp_path / module.CLAIMS).glob("*.lock"))
