"""Which networks the report draws."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from segfw.core.settings.schema import ExperimentSettings, NetworkSettings
from segfw.interop.nnunet import read_plans
from segfw.stages.reporting.example import predict_command
from segfw.stages.reporting.plan import networks_to_draw
from segfw.stages.trainings.runs import Done, FinishedFold
from segfw.training.run import FoldRun
from tests.stages.golden import HIPPOCAMPUS, make_job

PLAN = read_plans(HIPPOCAMPUS / "plans_default.json")
RUN = FoldRun(PLAN, "2d", 0, ("a",), ("b",), "store")
DONE = Done(1, 1, "hash", "hash", None, None, {})


@pytest.mark.parametrize(("chosen", "built"), [("planned", "unet"), ("residual_unet", "residual_unet")])
def test_before_training_the_networks_of_this_command(tmp_path, chosen, built):
    job = make_job(tmp_path, ExperimentSettings(network=NetworkSettings(chosen)))
    networks = networks_to_draw(job, PLAN, {"main": []})
    assert {name: network.architecture for name, network in networks.items()} == {"2d": built, "3d_fullres": built}
    assert networks_to_draw(job, None, {}) == {}


def test_after_training_those_that_were_trained_once_each(tmp_path):
    job = make_job(tmp_path, ExperimentSettings())
    folder = Path("runs/main/default/residual_unet/2d")
    residual = replace(RUN, network=NetworkSettings("residual_unet"))
    folds = [FinishedFold(folder / f"fold_{fold}", residual, DONE, None) for fold in (0, 1)]
    networks = networks_to_draw(job, PLAN, {"main": folds})
    assert {name: network.architecture for name, network in networks.items()} == {
        "default/residual_unet/2d": "residual_unet"
    }
    several = networks_to_draw(job, PLAN, {"main": folds, "other": folds})
    assert list(several) == ["main: default/residual_unet/2d", "other: default/residual_unet/2d"]


def test_the_command_for_the_example_can_be_copied():
    command = predict_command(Path("out/my model"), Path("a b.nii.gz"), own_code=True)
    assert shlex.split(command)[3:] == [
        "predict", "model=out/my model", "input=a b.nii.gz", "output=FOLDER", "inference.trust_code=true",
    ]  # fmt: skip
