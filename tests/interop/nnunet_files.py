"""A trained-model folder as nnU-Net v2 writes it, with tiny networks; what tests do to it, and how they read it."""

import json
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from segfw.core.labels import LabelSet
from segfw.core.plan import IntensityStatistics, Plan
from segfw.interop.model_files import open_files
from segfw.interop.nnunet import plans_to_json
from segfw.interop.nnunet_folder import Choice
from segfw.interop.nnunet_model import read_model
from segfw.interop.nnunet_weights import weights_to_nnunet
from segfw.nn.build import build_network, initialize
from tests.nn.configurations import make_configuration

LABELS = {"background": 0, "a": 1, "b": 2}
DATASET = {
    "name": "Tiny", "channel_names": {"0": "T1", "1": "mask"}, "labels": LABELS, "numTraining": 4,
    "file_ending": ".nii.gz",
}  # fmt: skip


def tiny_plan(labels=LABELS, **changes):
    """Make a plan of two tiny configurations for two channels and a transposed image."""
    schemes = {"normalization_schemes": ("zscore", "nonorm"), "use_mask_for_norm": (False, False)}
    configurations = {
        "2d": replace(make_configuration([[1, 1], [2, 2]], [4, 6]), **schemes),
        "3d_fullres": replace(make_configuration([[1, 1, 1], [1, 2, 2]], [4, 6]), spacing=(1.0, 1.5, 1.0), **schemes),
    }
    statistics = IntensityStatistics(0.0, 0.0, 1.0, -1.0, 1.0, 1.0, -1.0)
    plan = Plan(
        "Dataset900_Tiny", "default", ("T1", "mask"), LabelSet(labels), (1.0, 1.0, 2.0), (8, 9, 10), (2, 0, 1),
        (1, 2, 0), (statistics, statistics), configurations,
    )  # fmt: skip
    return replace(plan, **changes)


def tiny_weights(configuration="3d_fullres", seed=0, heads=3):
    """Draw our weights of a tiny network."""
    network = build_network(tiny_plan().configuration(configuration), 2, heads)
    initialize(network, seed)
    return network.state_dict()


def checkpoint(configuration="3d_fullres", fold=0, seed=0, **changes):
    """Make the content of a checkpoint, numpy scalars and all."""
    weights = weights_to_nnunet(tiny_weights(configuration, seed))
    content = {
        "network_weights": OrderedDict(weights),
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 1e-2}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float32(0.5), np.float64(0.25)], "epoch_end_timestamps": [1.5]},
        "_best_ema": np.float32(0.75),
        "current_epoch": 20,
        "init_args": {
            "plans": plans(), "configuration": configuration, "fold": fold, "dataset_json": DATASET,
            "device": torch.device("cuda", 0), "unpack_dataset": True,
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": tuple(range(3 if configuration.startswith("3d") else 2)),
    }  # fmt: skip
    return content | changes


def plans():
    """Make the content of plans.json."""
    return json.loads(json.dumps(plans_to_json(tiny_plan())))


def write_model(root, configuration="3d_fullres", folds=(0,), trainer="nnUNetTrainer", name="final", **changes):
    """Write a trained model under `root` and return its folder; `changes`: of the checkpoints."""
    folder = Path(root) / f"{trainer}__nnUNetPlans__{configuration}"
    for seed, fold in enumerate(folds):
        content = checkpoint(configuration, fold, seed, trainer_name=trainer)
        (folder / f"fold_{fold}" / "validation").mkdir(parents=True)
        torch.save(content | changes, folder / f"fold_{fold}" / f"checkpoint_{name}.pth")
    (folder / "plans.json").write_text(json.dumps(plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    return folder


def edit(path, change):
    """Let `change` alter what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def zipped(root, target):
    """Pack everything below `root` by its name there, as nnU-Net's export does."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.relative_to(root).as_posix())
    return target


def read(source, *configurations, checkpoint="final", folds=None):
    """Read a folder or zip as a model of ours."""
    return read_model(open_files(source), Choice(configurations or None, checkpoint, folds))


def assert_weights(member, seed):
    """Assert that a member has the weights that `seed` drew."""
    wanted = tiny_weights(member.configuration, seed)
    assert list(member.weights) == list(wanted)
    assert all(torch.equal(member.weights[name], wanted[name]) for name in wanted)
