"""Cutting the patches of a batch from memory-mapped cases.

Patches that are neither rotated nor scaled, most of them, are copied as they are. Of a rotated one only the part of the
loader patch that it sees is read.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segfw.core.types import FloatArray, IntArray, Shape
from segfw.data.drawing import PatchDraws, PatchSpec
from segfw.data.spatial import OUTSIDE, turn

BEFORE, AROUND = 1, 3  # voxels that `turn` wants before, and on both sides together
AT_ONCE = 2**17  # voxels that are turned in one go: few enough for the processor's caches


class Cases(Protocol):
    """Where arrays come from, such as a store."""

    def image(self, name: str) -> NDArray[np.float32]:
        """Return the image (C, d0, d1, d2)."""

    def label(self, name: str) -> NDArray[np.integer]:
        """Return the label map (L, d0, d1, d2)."""


def cut_on_host(store: Cases, draws: PatchDraws, spec: PatchSpec) -> tuple[Tensor, Tensor]:
    """Return the patches of a batch: image (B, C, *F) float32 and label (B, L, *F) int16; outside 0 and -1."""
    images = [store.image(case) for case in draws.cases]
    labels = [store.label(case) for case in draws.cases]
    count, flat = len(images), len(spec.patch_size) == 2
    image = np.zeros((count, images[0].shape[0], *spec.box_size), np.float32)
    label = np.full((count, labels[0].shape[0], *spec.box_size), OUTSIDE, np.int16)
    begins = (draws.starts + central_step(spec)).tolist()
    for row in draws.plain.tolist():
        paste(image[row], images[row], begins[row])
        paste(label[row], labels[row], begins[row])
    for rows, matrices in _portions(draws, spec):
        sources = [(images[row], labels[row]) for row in rows]
        boxes = _loader_boxes(sources, draws.starts[rows], matrices, spec)
        factors = torch.from_numpy(matrices.astype(np.float32))
        turned = turn(torch.from_numpy(boxes[0]), torch.from_numpy(boxes[1]), factors, (spec.box_size, spec.loader_box))
        image[rows], label[rows] = (part.transpose(0, 1).numpy() for part in turned)
    tensors = torch.from_numpy(image), torch.from_numpy(label)
    return (tensors[0].squeeze(2), tensors[1].squeeze(2)) if flat else tensors


def paste(target: NDArray[Any], source: NDArray[Any], begin: Sequence[int]) -> None:
    """Copy to `target` (C, *size) what `source` (C, *shape) holds from `begin` on, as far as it reaches.

    `begin` may be negative and the box may stick out: what lies there is left as it is.
    """
    here: list[slice] = [slice(None)]
    there: list[slice] = [slice(None)]
    for first, size, extent in zip(begin, target.shape[1:], source.shape[1:], strict=True):
        low, high = max(first, 0), min(first + size, extent)
        if low >= high:
            return
        here.append(slice(low - first, high - first))
        there.append(slice(low, high))
    target[tuple(here)] = source[tuple(there)]


def _portions(draws: PatchDraws, spec: PatchSpec) -> Iterator[tuple[IntArray, FloatArray]]:
    if draws.spatial is None:
        return
    step = max(1, AT_ONCE // int(np.prod(spec.patch_size)))
    for first in range(0, len(draws.turned), step):
        yield draws.turned[first : first + step], draws.spatial.matrices[first : first + step]


def _loader_boxes(
    sources: Sequence[tuple[NDArray[Any], NDArray[Any]]], starts: IntArray, matrices: FloatArray, spec: PatchSpec
) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    """Read loader patches as `turn` takes them; what no voxel of the patch sees stays 0 and -1."""
    rigid = 3 - matrices.shape[-1]
    shape = padded_box(spec, rigid)
    kinds = np.result_type(*{np.dtype(label.dtype) for _, label in sources})
    image = np.zeros((sources[0][0].shape[0], len(sources), *shape), np.float32)
    label = np.full((sources[0][1].shape[0], len(sources), *shape), OUTSIDE, kinds)
    for row, ((stored_image, stored_label), start, matrix) in enumerate(zip(sources, starts, matrices, strict=True)):
        low, high = seen_box(matrix, spec.box_size[rigid:], spec.loader_box[rigid:])
        box = (slice(None),) * rigid + tuple(slice(a + BEFORE, b + BEFORE) for a, b in zip(low, high, strict=True))
        begin = [*start[:rigid].tolist(), *(int(s) + a for s, a in zip(start[rigid:], low, strict=True))]
        paste(image[:, row][(slice(None), *box)], stored_image, begin)
        paste(label[:, row][(slice(None), *box)], stored_label, begin)
    return image, label


def central_step(spec: PatchSpec) -> IntArray:
    """Return how far into its loader patch a patch begins that is not turned, per axis of the store."""
    step: IntArray = np.array(spec.loader_box) // 2 - np.array(spec.box_size) // 2
    return step


def padded_box(spec: PatchSpec, rigid: int) -> Shape:
    """Return the extent of a loader patch as `turn` takes it; the first `rigid` axes ride along."""
    return (*spec.loader_box[:rigid], *(n + AROUND for n in spec.loader_box[rigid:]))


def seen_box(matrix: FloatArray, size: Shape, loader_size: Shape) -> tuple[list[int], list[int]]:
    """Return the first voxel of a loader patch that a turned patch sees, and the first that it no longer does."""
    low, high = [], []
    for row, extent in zip(matrix.tolist(), loader_size, strict=True):
        reach = sum(abs(factor) * (n - 1) / 2 for factor, n in zip(row, size, strict=True)) + 1e-3
        middle = (extent - 1) / 2
        low.append(max(0, int(np.floor(middle - reach))))
        high.append(min(extent, int(np.floor(middle + reach)) + 2))
    return low, high
