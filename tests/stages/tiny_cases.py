"""The tiny model of two channels on disk, and images for it."""

import dataclasses

import numpy as np
import SimpleITK as sitk

from segfw.core.settings.schema import NetworkSettings
from segfw.inference.bundle import Member, save_bundle
from segfw.nn.build import build_network
from tests.inference.tiny_model import make_bundle, make_plan

MARK = 777.0


def save_tiny_model(folder, members=slice(0, 1)):
    """Save the model with some of its members (the first two are folds of 3d_fullres)."""
    bundle = make_bundle(make_plan())
    save_bundle(folder, dataclasses.replace(bundle, members=bundle.members[members]))
    return folder


def save_model_of(folder, target):
    """Save a model whose network is code of its user's."""
    bundle = make_bundle(make_plan())
    network = NetworkSettings("mine", target)
    weights = build_network(bundle.plan.configuration("3d_fullres"), 2, 3, False, network).state_dict()
    save_bundle(folder, dataclasses.replace(bundle, members=(Member("3d_fullres", 0, "mine", weights, target),)))
    return folder


def save_images(folder, names, mark=()):
    """Save two channels for each case, those of `mark` with a large value in the second, which is not normalized."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for name in names:
        for channel in range(2):
            array = generator.normal(size=(6, 7, 8)).astype(np.float32)
            if channel == 1 and name in mark:
                array[3, 3, 3] = MARK
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{name}_{channel:04}.nii.gz"))
    return folder
