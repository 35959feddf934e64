"""Each network of the family learns two cases of the Demo by heart, on the way that every training goes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segfw.core.imaging.preprocessing import preprocess_case
from segfw.core.labels import LabelSet
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
from segfw.core.settings.training import (
    AugmentationSettings,
    OptimizerSettings,
    ScheduleSettings,
    TrainerSettings,
)
from segfw.data.case_files import commit_store, save_case
from segfw.data.store import Store
from segfw.inference.sliding_window import predict_logits
from segfw.io.datasets.phantom import make_phantom_dataset
from segfw.io.formats.readers import read_image, read_label
from segfw.nn.build import build_network
from segfw.training.checkpoints import network_weights
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun
from tests.training.conftest import make_plan

CASES = ("demo_00", "demo_01")
LABELS = LabelSet({"background": 0, "left_organ": 1, "right_organ": 2, "core": 3})
PATCH = (16, 16, 16)
STILL = {
    field.name: 0.0 for field in dataclasses.fields(AugmentationSettings) if field.name.endswith("_probability")
} | {"mirror_axes": ()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> FoldRun:
    """A run on two cases at 3 mm, of a small network without augmentation."""
    folder = tmp_path_factory.mktemp("overfit")
    make_phantom_dataset(folder / "Demo")
    plan = make_plan()
    configuration = dataclasses.replace(
        plan.configurations["3d_fullres"], spacing=(3.0, 3.0, 3.0), patch_size=PATCH, features_per_stage=(16, 24, 32)
    )
    plan = dataclasses.replace(plan, labels=LABELS, configurations={"3d_fullres": configuration})
    for name in CASES:
        image = read_image([folder / "Demo" / "imagesTr" / f"{name}.nii.gz"])
        label = read_label(folder / "Demo" / "labelsTr" / f"{name}.nii.gz")
        save_case(folder / "store", name, preprocess_case(image, label, plan, configuration))
    commit_store(folder / "store", {})
    return FoldRun(
        plan=plan,
        configuration_name="3d_fullres",
        fold="full",
        train_cases=CASES,
        val_cases=(),
        store=str(folder / "store"),
        augmentation=AugmentationSettings(**STILL),  # type: ignore[arg-type]
        optimizer=OptimizerSettings("adamw", lr=1e-2, weight_decay=0.0),
        schedule=ScheduleSettings("one_cycle", warmup=0.2, interval="step"),
        trainer=TrainerSettings(max_epochs=4, limit_train_batches=25, enable_progress_bar=False),
        inference=InferenceSettings(mirror=False),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vnet", "unet_plus_plus", "bayesian_unet"])
def test_learns_two_cases_by_heart(demo: FoldRun, fit: Callable[..., FoldResult], tmp_path: Path, name: str) -> None:
    arguments = {"dropout": 0.1} if name == "bayesian_unet" else {}
    run = dataclasses.replace(demo, network=NetworkSettings(name, arguments=arguments))
    checkpoint = fit(run, tmp_path).checkpoint
    network = build_network(run.configuration, 1, LABELS.num_heads, network=run.network)
    network.load_state_dict(network_weights(checkpoint))
    store, overlap, sizes = Store.open(Path(run.store)), np.zeros(3), np.zeros(3)
    for case in CASES:
        image = torch.from_numpy(np.array(store.image(case)))
        found = predict_logits(network, image, PATCH, run.inference, (), LABELS.num_heads).argmax(0).numpy()
        truth = np.asarray(store.label(case)).reshape(found.shape)
        for i, value in enumerate((1, 2, 3)):
            overlap[i] += 2 * ((found == value) & (truth == value)).sum()
            sizes[i] += (found == value).sum() + (truth == value).sum()
    assert (overlap / sizes).mean() > 0.8
