"""What networks cost in a command, and what is refused before anything is trained."""

import logging

import pytest

from segfw.core.errors import UsageError
from segfw.core.plan import ARCHITECTURES
from segfw.core.settings.schema import ExperimentSettings, NetworkSettings
from segfw.interop.nnunet import read_plans
from segfw.stages.costs import plan_costs
from segfw.stages.networks import compared_networks, network_cost
from segfw.stages.plan_table import plan_table
from segfw.training.devices import Device
from tests.stages.golden import HIPPOCAMPUS, make_job

PLAN = read_plans(HIPPOCAMPUS / "plans_default.json")
OWN = NetworkSettings("mine", "tests.nn.own.MyNet", {"width": 3})
CPU = Device("cpu", "CPU", "32-true", 2, "CPU, 2 threads")


def test_own_networks_are_counted_without_computing():
    configuration = PLAN.configuration("2d")
    cost = network_cost(PLAN, configuration, OWN)
    # 1 -> 3 by 3x3, 3 -> 3 by 1x1, with biases
    assert cost.parameters == 3 * 9 + 3 + 9 + 3
    voxels = 56 * 40 * configuration.batch_size
    assert cost.flops == 2 * voxels * (3 * 9 + 9)


def test_wrong_arguments_and_networks_are_refused():
    with pytest.raises(UsageError, match=r"vnet takes none, got \['width'\]"):
        network_cost(PLAN, PLAN.configuration("2d"), NetworkSettings("vnet", None, {"width": 3}))
    with pytest.raises(UsageError, match="must be above 0 and below 1, got 2"):
        network_cost(PLAN, PLAN.configuration("2d"), NetworkSettings("bayesian_unet", None, {"dropout": 2}))
    with pytest.raises(UsageError, match="logits of shape"):
        network_cost(PLAN, PLAN.configuration("2d"), NetworkSettings("mine", "tests.nn.own.Half"))


def test_every_network_is_compared_on_every_configuration():
    rows = compared_networks(PLAN, OWN)
    assert [row.configuration for row in rows] == ["2d"] * 6 + ["3d_fullres"] * 6
    assert [row.network.split()[0] for row in rows[:6]] == [*ARCHITECTURES, "mine"]
    assert rows[6].network == "unet (planned)"
    assert (rows[6].parameters, rows[11].memory_gb) == (5_603_177, None)
    # 0.345 TFLOP a batch of 9
    assert rows[6].flops == pytest.approx(0.345e12 / 9, rel=2e-3)
    assert (rows[10].network, rows[10].parameters, rows[10].flops) == (
        "bayesian_unet", rows[6].parameters, rows[6].flops
    )  # fmt: skip
    assert rows[10].memory_gb == pytest.approx(1.2 * rows[6].memory_gb, rel=0.01)


def test_a_job_knows_what_its_own_network_costs_but_for_memory(tmp_path, caplog):
    job = make_job(tmp_path, ExperimentSettings(network=OWN))
    with caplog.at_level(logging.WARNING):
        costs = plan_costs(job, CPU, 1e12)
    assert (costs["2d"].parameters, costs["2d"].gpu_memory_gb, costs["2d"].training) == (42, None, None)
    assert costs["2d"].seconds_per_fold > 0
    assert (
        "network=mine: the memory it needs for 2d, 3d_fullres is not known; patch and batch stay as planned"
        in caplog.text
    )
    assert plan_table(job.plan, costs).splitlines()[-1].count("?") == 2


def test_of_a_network_that_does_not_work_only_that_is_said(tmp_path, caplog):
    job = make_job(tmp_path, ExperimentSettings(network=NetworkSettings("mine", "nowhere_to_be_found.MyNet")))
    with pytest.raises(UsageError, match="cannot import"):
        plan_costs(job, CPU, 1e12)
    assert "memory it needs" not in caplog.text
