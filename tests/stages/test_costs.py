"""The estimate of training time, and the warning before a command that takes days."""

import logging
from dataclasses import replace

import pytest

from segfw.core.plan import Plan
from segfw.core.settings.training import TrainerSettings
from segfw.interop.nnunet import read_plans
from segfw.stages.costs import announce_cost, estimate_seconds
from segfw.training.devices import Device
from segfw.training.run import FoldRun
from segfw.training.team import Team
from tests.stages.golden import HIPPOCAMPUS


@pytest.fixture
def run() -> FoldRun:
    plan: Plan = read_plans(HIPPOCAMPUS / "plans_default.json")
    return FoldRun(plan, "3d_fullres", 0, ("a",), ("b",), "store", trainer=TrainerSettings(max_epochs=1000))


def test_the_published_recipe_takes_250_000_steps(run):
    # One batch of 9 costs 0.345 TFLOP forward; a step is three of these, an epoch 250 steps and 50 forward passes.
    forward = 0.345e12
    wanted = 1000 * (3 * 250 + 50) * forward
    assert estimate_seconds([run], 1.0) == pytest.approx(wanted, rel=2e-3)
    assert estimate_seconds([run, run], 2.0) == pytest.approx(wanted, rel=2e-3)


def test_a_budget_of_time_is_what_it_takes(run):
    trainer = replace(run.trainer, max_time="00:01:00:00")
    timed = replace(run, trainer=trainer, schedule=replace(run.schedule, horizon="time"))
    assert estimate_seconds([timed, timed], 1.0) == 7200
    assert estimate_seconds([timed], 1e11) == 3600  # whatever the machine's speed
    assert estimate_seconds([replace(run, trainer=trainer)], 1.0) == estimate_seconds([run], 1.0)


def test_rarer_validation_takes_less(run):
    rarer = replace(run, trainer=replace(run.trainer, check_val_every_n_epoch=50))
    # of each epoch's 250 * 3 + 50 passes, 49 remain undone
    assert estimate_seconds([rarer], 1.0) == pytest.approx(estimate_seconds([run], 1.0) * 751 / 800)


def test_more_than_a_day_names_the_recipe_for_small_budgets(run, caplog, monkeypatch):
    monkeypatch.setattr("segfw.training.team.measure_flops_per_second", lambda device: 90e9)
    team = Team(Device("cpu", "CPU", "32-true", 2, "CPU"))
    with caplog.at_level(logging.INFO):
        announce_cost([run], team)
    assert "35.5 days" in caplog.text
    assert "experiment=fast" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        announce_cost([replace(run, trainer=TrainerSettings(max_epochs=1))], team)
    assert "experiment=fast" not in caplog.text
