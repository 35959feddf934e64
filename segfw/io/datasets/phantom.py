"""A small made-up dataset, so that the whole way can be walked without a download.

Each case is a body (an ellipsoid) with a large bright left organ, a small dark right one, and a bright core with a
tube that leads out of the body. Networks see arrays in the order of the file and mirrored besides, so left and right
differ in brightness and size, not in position alone. Sizes, places, contrast, spacing and orientation differ from case
to case; the grids are really sampled along their (flipped, permuted, tilted) axes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from segfw.core.support.files import remove_remains, temporary_beside, write_text, writing
from segfw.core.support.locks import hold
from segfw.core.types import BoolArray, FloatArray, IntArray
from segfw.io.formats.writing import write_checked

NUM_CASES = 20
SEED = 20240
EXTENT = 56.0  # edge of the field of view, mm
SPACING = (1.2, 1.75)  # range, mm: 32 to 47 voxels along each axis
LABELS = {"0": "background", "1": "left_organ", "2": "right_organ", "3": "core"}
BRIGHTNESS = {"air": 30.0, "body": 400.0, "left": 620.0, "right": 150.0, "core": 850.0}
NOISE = 28.0


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a case's voxels lie. Entries and columns of `direction` belong to the axes (x, y, z) of the file."""

    shape: tuple[int, ...]
    spacing: FloatArray
    direction: FloatArray

    @property
    def origin(self) -> FloatArray:
        """Position of the first voxel, mm; the middle of the grid is (0, 0, 0)."""
        return np.asarray(-self.direction @ (self.spacing * (np.array(self.shape) - 1) / 2))

    def positions(self) -> FloatArray:
        """Return the place of every voxel in the patient, `(Z, Y, X, 3)`, mm, (x, y, z)."""
        index = np.stack(
            np.meshgrid(*(np.arange(n, dtype=np.float64) for n in self.shape[::-1]), indexing="ij"), axis=-1
        )
        return np.asarray(self.origin + (index[..., ::-1] * self.spacing) @ self.direction.T)


def make_phantom_dataset(folder: Path) -> None:
    """Make the dataset in `folder`, Decathlon layout, the same bits every time.

    A folder that is there is left as it is; a new one appears complete or not at all.
    """
    if folder.exists():
        return
    with hold(folder.with_name(f".{folder.name}.lock"), str(folder)):
        if not folder.exists():
            remove_remains(folder)
            _make(folder)


def _make(folder: Path) -> None:
    temporary = temporary_beside(folder)
    try:
        names = [f"demo_{number:02}" for number in range(NUM_CASES)]
        for number, name in enumerate(names):
            _write_case(temporary, name, np.random.default_rng([SEED, number]), number)
        write_text(temporary / "dataset.json", json.dumps(_description(names), indent=1) + "\n")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _description(names: list[str]) -> dict[str, object]:
    return {
        "name": "Demo",
        "description": "made-up bodies with a left and a right organ and a core, to try segfw on",
        "reference": "made by segfw",
        "licence": "CC0",
        "modality": {"0": "MRI"},
        "labels": LABELS,
        "numTraining": len(names),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
        "test": [],
    }


def _write_case(folder: Path, name: str, rng: np.random.Generator, number: int) -> None:
    grid = _draw_grid(rng, number)
    image, label = _draw_case(rng, grid.positions())
    for sub, array in (("imagesTr", image), ("labelsTr", label)):
        file = sitk.GetImageFromArray(array)
        file.SetSpacing(grid.spacing.tolist())
        file.SetOrigin(grid.origin.tolist())
        file.SetDirection(grid.direction.ravel().tolist())
        path = folder / sub / f"{name}.nii.gz"
        with writing(path, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_checked(path, ".nii.gz", file)


def _draw_grid(rng: np.random.Generator, number: int) -> Grid:
    """Draw a grid: the first case plain, then flipped and permuted, every third one tilted by up to ten degrees."""
    spacing = np.round(rng.uniform(*SPACING, 3), 2)
    direction = np.eye(3)
    if number > 0:
        direction = direction[:, rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    if number % 3 == 2:
        direction = _rotation(np.deg2rad(rng.uniform(-10, 10, 3))) @ direction
    shape = tuple(int(n) for n in np.rint(EXTENT / spacing))
    return Grid(shape, spacing, direction)


def _rotation(angles: FloatArray) -> FloatArray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _draw_case(rng: np.random.Generator, positions: FloatArray) -> tuple[NDArray[np.int16], IntArray]:
    """Draw anatomy and picture of one case at `positions`: image int16 and label map uint8, `(Z, Y, X)`."""
    shift = rng.uniform(-2, 2, 3)
    size = rng.uniform(0.9, 1.1, (4, 3))
    body = _ellipsoid(positions, shift, np.array([24, 19, 23]) * size[0])
    left = _ellipsoid(positions, shift + np.array([11, 2, 1]) + rng.uniform(-1, 1, 3), np.array([7.5, 9, 11]) * size[1])
    right = _ellipsoid(
        positions, shift + np.array([-12, -1, -2]) + rng.uniform(-1, 1, 3), np.array([6.5, 8, 9.5]) * size[2]
    )
    middle = shift + np.array([-1, 3, -5]) + rng.uniform(-1, 1, 3)
    core = _ellipsoid(positions, middle, np.array([5, 5, 6]) * size[3])
    core |= _tube(positions, middle, radius=2.6 * size[3, 0], sway=rng.uniform(1, 3))
    core &= body

    label = np.zeros(body.shape, np.uint8)
    picture = np.where(body, BRIGHTNESS["body"], BRIGHTNESS["air"])
    for value, (name, mask) in enumerate((("left", left), ("right", right), ("core", core)), start=1):
        label[mask] = value
        picture[mask] = BRIGHTNESS[name]
    picture = picture * rng.uniform(0.85, 1.15) * _bias_field(rng, positions)
    picture += rng.normal(0, NOISE, picture.shape)
    return np.clip(np.rint(picture), 0, 4000).astype(np.int16), label


def _ellipsoid(positions: FloatArray, center: FloatArray, radii: FloatArray) -> BoolArray:
    return np.asarray((((positions - center) / radii) ** 2).sum(-1) <= 1)


def _tube(positions: FloatArray, start: FloatArray, radius: float, sway: float) -> BoolArray:
    """Mark a tube from `start` upwards (z) that swings `sway` mm to the front."""
    x, y, z = np.moveaxis(positions - start, -1, 0)
    return np.asarray((x**2 + (y - sway * np.sin(z / 8)) ** 2 <= radius**2) & (z >= 0))


def _bias_field(rng: np.random.Generator, positions: FloatArray) -> FloatArray:
    """Draw a smooth factor between about 0.85 and 1.15: a linear and a quadratic part."""
    scaled = positions / EXTENT
    return np.asarray(1 + scaled @ rng.uniform(-0.12, 0.12, 3) + (scaled**2) @ rng.uniform(-0.2, 0.2, 3))
