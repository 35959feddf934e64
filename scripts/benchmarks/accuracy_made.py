"""The generated dataset of rare structures: spots under 0.1 % of the voxels in volumes three patches wide."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from scripts.benchmarks.ablation_sets import NOISE

CASES = 25
EDGE = 96
MOST_SPOTS = 6
RADII = (1.5, 3.0)  # voxels: six of the largest are 679 of 884,736 voxels


def write_rare(folder: Path) -> None:
    """Write the dataset in nnU-Net v2's layout."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(CASES):
        image, label = draw_spots(np.random.default_rng((number, 900)))
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"rare_{number:03d}_0000.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(label), str(folder / "labelsTr" / f"rare_{number:03d}.nii.gz"))
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "lesion": 1}, "numTraining": CASES}
    (folder / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}), encoding="utf-8")


def draw_spots(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image and a label map (Z, Y, X) of one to six bright spots in smooth tissue."""
    tissue = ndimage.gaussian_filter(rng.standard_normal((EDGE,) * 3), 6)
    picture, label = tissue / tissue.std() * 0.5, np.zeros((EDGE,) * 3, np.uint8)
    for _ in range(rng.integers(1, MOST_SPOTS + 1)):
        center, radius = rng.uniform(8, EDGE - 8, 3), rng.uniform(*RADII)
        spot = sum((x - c) ** 2 for x, c in zip(np.indices(label.shape, np.float32), center, strict=True)) <= radius**2
        label[spot] = 1
        picture[spot] += rng.uniform(1.5, 3.0)
    image = ndimage.gaussian_filter(picture, 0.7) + rng.normal(0, NOISE, label.shape)
    return image.astype(np.float32), label
