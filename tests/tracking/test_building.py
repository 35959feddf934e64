"""Which trackers the settings ask for, and what each is opened with."""

from types import SimpleNamespace

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings.tracking import LoggerSettings
from segfw.tracking import building
from segfw.tracking.building import check_trackers, openers
from segfw.tracking.trackers import TrackedRun


def test_each_is_opened_with_the_run_and_its_own_settings(monkeypatch, tmp_path):
    opened = {}

    def module(name):
        name = name.removeprefix("segfw.tracking.").removesuffix("_log")
        return SimpleNamespace(**{f"open_{name}": lambda *arguments: opened.update({name: arguments})})

    monkeypatch.setattr(building, "import_module", module)
    run = TrackedRun("segfw", "g", "n", "train", tmp_path, tmp_path, (), {})
    settings = LoggerSettings(wandb=True, tensorboard=True, mlflow=True, mlflow_uri="http://here")
    for open_tracker in openers(run, settings).values():
        open_tracker()
    assert opened == {"wandb": (run, settings), "tensorboard": (run,), "mlflow": (run, "http://here")}


def test_nothing_is_opened_for_csv_alone(tmp_path):
    run = TrackedRun("segfw", "g", "n", "train", tmp_path, tmp_path, (), {})
    assert openers(run, LoggerSettings()) == {}


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"logger.mlflow=true needs a package .*pip install"):
        check_trackers(LoggerSettings(mlflow=True))
