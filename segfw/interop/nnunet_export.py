"""A packaged model as a trained-model folder that nnU-Net v2 predicts from.

nnU-Net finds the network by plans.json and the name of a trainer, here its standard one, whose network is the plan's.
What training alone needs, such as the optimizer's state, is not in a packaged model: the folder is for prediction and
as a start for further training (`nnUNetv2_train ... -pretrained_weights`), not for continuing.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from segfw.core.errors import ArtefactError
from segfw.core.plan import Plan
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import atomic_path, write_text
from segfw.inference.bundle import Bundle, Member, refuse_cascade
from segfw.interop.nnunet import plans_to_json
from segfw.interop.nnunet_configurations import NETWORK_CLASSES
from segfw.interop.nnunet_folder import DATASET, PLANS
from segfw.interop.nnunet_weights import weights_to_nnunet
from segfw.nn.build import check_weights, network_shapes

TRAINER = "nnUNetTrainer"


def write_trained_model(bundle: Bundle, folder: Path) -> None:
    """Write into `folder`, which must be new or empty; nothing is written for a model that is refused.

    A model of several configurations becomes one such folder for each, called as nnU-Net calls them, below `folder`;
    nnU-Net averages their predictions with `nnUNetv2_ensemble`. Raises `ArtefactError` for a network that nnU-Net does
    not have, and where something is in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtefactError(f"{folder} is not empty; nnU-Net would predict from every fold that it finds there")
    refuse_cascade(bundle, "nnunet")
    configurations = dict.fromkeys(member.configuration for member in bundle.members)
    members = {name: [each for each in bundle.members if each.configuration == name] for name in configurations}
    plans = {name: _plan(bundle.plan, members[name]) for name in configurations}
    for name, plan in plans.items():
        full_name = f"{TRAINER}__{plans_to_json(plan)['plans_name']}__{name}"
        _write(folder if len(plans) == 1 else folder / full_name, plan, members[name], bundle.mirror_axes)


def _plan(plan: Plan, members: Sequence[Member]) -> Plan:
    """Return the plan with the members' network as that of their configuration."""
    name = members[0].configuration
    configuration = plan.configuration(name)
    networks = {configuration.architecture if each.network == "planned" else each.network for each in members}
    unknown = sorted(networks - set(NETWORK_CLASSES))
    if unknown:
        raise ArtefactError(
            f"{name}: nnU-Net has no network {unknown[0]!r}; it predicts with {' and '.join(NETWORK_CLASSES)}"
        )
    if len(networks) > 1:
        raise ArtefactError(f"{name}: nnU-Net builds one network for all folds, this model has {sorted(networks)}")
    if len(configuration.strides) == 1:
        raise ArtefactError(f"{name}: nnU-Net has no network of one stage, as planned for images this small")
    configuration = replace(configuration, architecture=networks.pop())
    shapes = network_shapes(configuration, len(plan.channel_names), plan.labels.num_heads)
    for member in members:
        try:
            check_weights(member.weights, shapes)
        except ArtefactError as error:
            raise ArtefactError(f"{name}, fold {member.fold}: {error}") from error
    return replace(plan, configurations={**plan.configurations, name: configuration})


def _dataset(plan: Plan) -> dict[str, Any]:
    """Return what nnU-Net's prediction needs to know of the dataset. Images are then to be `.nii.gz`."""
    order = plan.labels.regions_class_order
    return {
        "name": plan.dataset_name,
        "channel_names": {str(index): name for index, name in enumerate(plan.channel_names)},
        "labels": to_plain(plan.labels.values),
        **({} if order is None else {"regions_class_order": list(order)}),
        "file_ending": ".nii.gz",
    }


def _write(folder: Path, plan: Plan, members: Sequence[Member], mirror_axes: tuple[int, ...]) -> None:
    """Write one configuration's folder."""
    configuration = plan.configuration(members[0].configuration)
    names = network_shapes(configuration, len(plan.channel_names), plan.labels.num_heads)
    plans, dataset = plans_to_json(plan), _dataset(plan)
    axes = tuple(axis for axis in mirror_axes if axis < len(configuration.patch_size))
    for member in members:
        fold = "all" if member.fold == "full" else member.fold
        content = {
            "network_weights": weights_to_nnunet({name: member.weights[name] for name in names}),
            "trainer_name": TRAINER,
            "init_args": {
                "plans": plans,
                "configuration": member.configuration,
                "fold": fold,
                "dataset_json": dataset,
                "device": torch.device("cpu"),
            },
            "inference_allowed_mirroring_axes": axes or None,  # nnU-Net stumbles over an empty tuple
        }
        target = folder / f"fold_{fold}" / "checkpoint_final.pth"
        with atomic_path(target) as temporary, temporary.open("wb") as file:  # given a path, torch writes its name down
            torch.save(content, file)
    for name, description in ((PLANS, plans), (DATASET, dataset)):
        write_text(folder / name, json.dumps(description, indent=4))
