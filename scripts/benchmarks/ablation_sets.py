"""Synthetic datasets for the choice of a recipe: what real sets at hand do not show, made from a seed.

`Lesions`: none to six bright spots of 1 to 3 voxels radius in a blurred body. `Twins`: two parts of one structure that
look alike and lie one behind the other, so that only their place tells them apart, as in the hippocampus.
"""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from segfw.core.types import BoolArray, FloatArray, IntArray

CASES = 30
SHAPE = (32, 48, 48)
NOISE = 0.6  # standard deviation, beside structures 1 brighter than their surroundings
LABELS = {"Lesions": {"background": 0, "lesion": 1}, "Twins": {"background": 0, "front": 1, "back": 2}}


def write_dataset(name: str, folder: Path) -> None:
    """Write the dataset `name` into `folder`, in the Decathlon's layout."""
    rows = []
    for number in range(CASES):
        rng = np.random.default_rng((number, sorted(LABELS).index(name)))
        image, label = draw_lesions(rng) if name == "Lesions" else draw_twins(rng)
        case = f"{name.lower()}_{number:03d}.nii.gz"
        for kind, array in (("imagesTr", image), ("labelsTr", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / kind / case))
        rows.append({"image": f"./imagesTr/{case}", "label": f"./labelsTr/{case}"})
    description = {
        "name": name,
        "modality": {"0": "MRI"},
        "labels": {str(value): label for label, value in LABELS[name].items()},
        "numTraining": CASES,
        "training": rows,
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def draw_lesions(rng: np.random.Generator) -> tuple[NDArray[np.float32], IntArray]:
    """Draw an image and a label map (Z, Y, X) with up to six small spots, some of them only half as bright."""
    body = _ball(np.array(SHAPE) / 2, np.array(SHAPE) * 0.45)
    picture, label = body * 2.0, np.zeros(SHAPE, np.uint8)
    inside = np.argwhere(ndimage.binary_erosion(body, iterations=4))
    for center in inside[rng.integers(len(inside), size=rng.integers(0, 7))]:
        spot = _ball(center + rng.uniform(-0.5, 0.5, 3), np.full(3, rng.uniform(1.2, 3.2)))
        label[spot] = 1
        picture[spot] = 2 + rng.uniform(0.8, 1.8)
    return _photograph(rng, picture), label


def draw_twins(rng: np.random.Generator) -> tuple[NDArray[np.float32], IntArray]:
    """Draw an image and a label map (Z, Y, X) of one bent tube, its front half labelled 1 and its back half 2."""
    center = np.array(SHAPE) / 2 + rng.uniform(-3, 3, 3)
    z, y, x = np.moveaxis(np.stack(np.mgrid[tuple(slice(n) for n in SHAPE)], -1) - center, -1, 0)
    bend, radius, length = rng.uniform(0.01, 0.03), rng.uniform(4, 6), rng.uniform(11, 15)
    tube = ((z - bend * y**2) ** 2 + x**2 <= radius**2) & (np.abs(y) <= length)
    label = (tube * np.where(y < rng.uniform(-2, 2), 1, 2)).astype(np.uint8)
    other = _ball(center + np.array([0, rng.uniform(-8, 8), 14 * rng.choice([-1, 1])]), rng.uniform(3, 6, 3))
    return _photograph(rng, 1.0 * (tube | other)), label


def _ball(center: FloatArray, radii: FloatArray) -> BoolArray:
    positions = np.stack(np.mgrid[tuple(slice(n) for n in SHAPE)], -1)
    return np.asarray((((positions - center) / radii) ** 2).sum(-1) <= 1)


def _photograph(rng: np.random.Generator, picture: FloatArray) -> NDArray[np.float32]:
    """Blur the picture, tilt its brightness and add noise."""
    tilt = 1 + 0.2 * rng.uniform(-1, 1) * np.linspace(-1, 1, SHAPE[2])
    image = ndimage.gaussian_filter(picture, 0.7) * tilt * rng.uniform(0.8, 1.2)
    return np.asarray(image + rng.normal(0, NOISE, SHAPE), np.float32)
