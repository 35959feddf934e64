"""What a run's files say of it, and when it is finished."""

import math
import time
from dataclasses import replace

import pytest

from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.tracking import LoggerSettings
from segfw.core.settings.training import ScheduleSettings, TrainerSettings
from segfw.core.support.conversion import from_plain, to_plain
from segfw.stages.trainings.runs import Done, load_logger
from segfw.stages.trainings.train import _deadline

EPOCHS, TIME = ScheduleSettings(), ScheduleSettings(horizon="time")


def test_a_run_of_an_earlier_version_is_followed_by_nobody(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {}\n")
    assert load_logger(tmp_path) == LoggerSettings()


@pytest.mark.parametrize(
    ("done", "schedule", "trainer", "suffices"),
    [
        ({}, EPOCHS, TrainerSettings(max_epochs=10), True),
        ({}, EPOCHS, TrainerSettings(max_epochs=11), False),
        ({"ended": "early", "reason": "no better"}, EPOCHS, TrainerSettings(max_epochs=11), True),
        ({"ended": "time", "training_seconds": 60.0}, TIME, TrainerSettings(max_time="00:00:01:00"), True),
        ({"ended": "time", "training_seconds": 60.0}, TIME, TrainerSettings(max_time="00:00:01:01"), False),
        ({"training_seconds": 60.0}, EPOCHS, TrainerSettings(max_epochs=11, max_time="00:00:01:00"), False),
    ],
)
def test_when_a_fold_is_finished(done, schedule, trainer, suffices):
    assert Done(10, 1, "", "", None, None, {}, **done).suffices(schedule, trainer) is suffices


def test_a_done_file_of_before_still_counts():
    plain = to_plain(Done(10, 1, "", "", None, None, {}))
    for key in ("ended", "reason", "training_seconds"):
        del plain[key]
    assert from_plain(Done, plain, "done.yaml").suffices(EPOCHS, TrainerSettings(max_epochs=10))


def test_a_limit_counts_from_the_beginning_of_the_training():
    settings = ExperimentSettings(trainer=TrainerSettings(max_time="00:00:01:00"))
    assert time.monotonic() < _deadline(settings) <= time.monotonic() + 60
    assert _deadline(ExperimentSettings()) == math.inf
    assert _deadline(replace(settings, schedule=TIME)) == math.inf
