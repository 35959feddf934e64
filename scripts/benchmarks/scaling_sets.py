"""Synthetic datasets of any number of cases, voxels or labels, in nnU-Net's layout; for `scaling.py`."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

EDGE = 8  # voxels of an image among thousands
KINDS = 20  # different label maps among these


def make_cases(folder: Path, number: int) -> Path:
    """Make `number` tiny cases, no two images alike; label maps of a kind are one file under many names."""
    generator = np.random.default_rng(0)
    labels = [_cuboid(kind) for kind in range(KINDS)]
    originals = [folder / f"label_{kind}.nii.gz" for kind in range(KINDS)]
    _describe(folder, number, 2)
    for path, label in zip(originals, labels, strict=True):
        _write(path, label)
    for case in range(number):
        image = generator.standard_normal((EDGE,) * 3, np.float32) + 3 * labels[case % KINDS]
        _write(folder / f"imagesTr/{name_of(case)}_0000.nii.gz", image)
        os.link(originals[case % KINDS], folder / f"labelsTr/{name_of(case)}.nii.gz")
    return folder


def make_volumes(folder: Path, shape: Sequence[int], num_labels: int, number: int = 1) -> Path:
    """Make `number` cases of `shape` whose label maps hold all of `num_labels`, background among them, as slabs.

    Not compressed: inflating would hide what the rest takes.
    """
    generator = np.random.default_rng(0)
    _describe(folder, number, num_labels, ".nii")
    edge = shape[-1]
    values = np.minimum(np.arange(edge) * num_labels // edge, num_labels - 1)
    if num_labels > edge:
        values = np.arange(edge)
    label = np.zeros(tuple(shape), np.uint8)
    label[:, shape[1] // 4 : -(shape[1] // 4)] = values
    if num_labels > edge:  # the other labels on the other side
        label[:, -(shape[1] // 4) :] = np.minimum(np.arange(edge) + edge, num_labels - 1)
    block = generator.integers(-1000, 1000, (16, *shape[1:]), np.int16)
    image = np.concatenate([block] * (shape[0] // 16))
    for case in range(number):
        image[0, 0, case] = 1000  # no two alike
        _write(folder / f"imagesTr/{name_of(case)}_0000.nii", image)
        _write(folder / f"labelsTr/{name_of(case)}.nii", label)
    return folder


def name_of(case: int) -> str:
    """Name the case of a number."""
    return f"case_{case:05d}"


def _describe(folder: Path, number: int, num_labels: int, ending: str = ".nii.gz") -> None:
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    labels = {"background": 0} | {f"organ{value}": value for value in range(1, num_labels)}
    content = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": number, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def _cuboid(kind: int) -> np.ndarray:
    label = np.zeros((EDGE,) * 3, np.uint8)
    label[2:6, 2:6, 2 : 4 + 2 * (kind % 3 > 0)] = 1
    return label


def _write(path: Path, array: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
