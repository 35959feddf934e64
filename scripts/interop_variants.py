"""Models with what a single real one does not have, and an image; `interop_model_check.py` predicts here and there.

Random networks on a random image: two folds, regions with an ignore label, residual encoders, slices, a transposed and
anisotropic grid, CT and masked normalization. The heads are enlarged, so that the probabilities are not all the same;
this also enlarges what nnU-Net loses by computing in half precision, most of all in the corners of the image, where its
windows weigh next to nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.settings.schema import InferenceSettings
from segfw.inference.bundle import Bundle, Member, Provenance
from segfw.nn.build import build_network, initialize

LABELS = LabelSet({"background": 0, "a": 1, "b": 2})
REGIONS = LabelSet({"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}, (1, 2))
CASE = "case"
HEAD_SCALE = 8.0


def variants() -> Iterator[tuple[str, Bundle]]:
    """Yield (what is special, model)."""
    for architecture, name, labels in (
        ("unet", "3d_fullres", LABELS),
        ("residual_unet", "2d", LABELS),
        ("unet", "2d", REGIONS),
        ("residual_unet", "3d_fullres", REGIONS),
    ):
        words = "regions, ignore label" if labels.has_regions else "labels"
        yield f"{architecture} {name}, {words}", _bundle(architecture, name, labels)


def write_images(folder: Path) -> list[Path]:
    """Write an image of two channels with empty borders, which are cropped, and return its files."""
    generator = np.random.default_rng(0)
    array = generator.normal(40, 60, (2, 30, 41, 13)).astype(np.float32)
    array[:, :3], array[:, :, 35:], array[1, :10] = 0, 0, 0
    paths = []
    for channel, values in enumerate(array):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((3.0, 0.8, 0.9))
        image.SetOrigin((-7.0, 3.0, 11.0))
        paths.append(folder / f"{CASE}_{channel:04d}.nii.gz")
        sitk.WriteImage(image, str(paths[-1]))
    return paths


def _bundle(architecture: str, name: str, labels: LabelSet) -> Bundle:
    statistics = IntensityStatistics(40.0, 40.0, 60.0, -200.0, 300.0, 180.0, -100.0)
    configuration = _configuration(architecture, 2 if name == "2d" else 3)
    plan = Plan(
        "Dataset905_Variants", "default", ("CT", "MRI"), labels, (3.0, 0.9, 0.8), (13, 30, 41), (2, 0, 1), (1, 2, 0),
        (statistics, statistics), {name: configuration},
    )  # fmt: skip
    members = []
    for fold in range(2):
        network = build_network(configuration, 2, labels.num_heads)
        initialize(network, fold)
        weights = network.state_dict()
        scale = {key: HEAD_SCALE if "seg_layers" in key else 1.0 for key in weights}
        members.append(Member(name, fold, architecture, {key: weights[key] * scale[key] for key in weights}))
    return Bundle(plan, tuple(members), (0, 1, 2)[: len(configuration.patch_size)], InferenceSettings(), Provenance())


def _configuration(architecture: str, ndim: int) -> Configuration:
    kernels = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    strides = [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
    return Configuration(
        spacing=(2.5, 1.0, 0.7)[-ndim:],
        patch_size=(8, 16, 20)[-ndim:],
        batch_size=2,
        median_image_size_in_voxels=(15.0, 27.0, 46.0)[-ndim:],
        architecture=architecture,
        features_per_stage=(4, 8, 12),
        kernel_sizes=tuple(row[-ndim:] for row in kernels),
        strides=tuple(row[-ndim:] for row in strides),
        n_conv_per_stage=(1, 2, 2),
        n_conv_per_stage_decoder=(1, 1),
        normalization_schemes=("ct", "zscore"),
        use_mask_for_norm=(False, True),
        batch_dice=False,
    )
