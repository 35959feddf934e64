"""A tiny model of two folds in 3D and one in 2D, to make in any test."""

import torch

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.settings.schema import InferenceSettings
from segfw.inference.bundle import Bundle, Member, Provenance
from segfw.nn.build import build_network, initialize


def tiny_configuration(ndim):
    return Configuration(
        spacing=(1.0, 1.5, 1.0)[-ndim:], patch_size=(8,) * ndim, batch_size=2,
        median_image_size_in_voxels=(8.0,) * ndim,
        architecture="unet", features_per_stage=(4, 6), kernel_sizes=((3,) * ndim,) * 2,
        strides=((1,) * ndim, (2,) * ndim),
        n_conv_per_stage=(1, 1), n_conv_per_stage_decoder=(1,), normalization_schemes=("zscore", "nonorm"),
        use_mask_for_norm=(False, False), batch_dice=True,
    )  # fmt: skip


def make_plan():
    """Two channels, two labels, axes turned."""
    statistics = IntensityStatistics(0.0, 0.0, 1.0, -1.0, 1.0, 1.0, -1.0)
    return Plan(
        "Dataset", "default", ("T1", "mask"), LabelSet({"background": 0, "a": 1, "b": 2}), (1.0, 1.0, 2.0), (8, 9, 10),
        (2, 0, 1), (1, 2, 0), (statistics, statistics),
        {"2d": tiny_configuration(2), "3d_fullres": tiny_configuration(3)},
    )  # fmt: skip


def make_bundle(plan, folds=(("3d_fullres", 0), ("3d_fullres", "full"), ("2d", 3))):
    """Members of random weights."""
    members = []
    for seed, (configuration, fold) in enumerate(folds):
        network = build_network(plan.configuration(configuration), 2, 3)
        initialize(network, seed)
        members.append(Member(configuration, fold, "unet", network.state_dict()))
    provenance = Provenance("2026-11-23", "0" * 64, {"segfw": "0.1.0", "torch": torch.__version__}, {"dice": 0.9})
    return Bundle(plan, tuple(members), (0, 1, 2), InferenceSettings(), provenance)
