"""What the next stage of a cascade is shown of the previous one: its label map, changed as its errors might look.

The previous segmentation is a second channel of the label maps, so that it is cut, turned and mirrored like the target.
Its changes act on label maps rather than on one-hot channels: a label that grows takes voxels from the others, one that
shrinks leaves background, so that every voxel keeps one label at most. They need connected components, which torch does
not have, and follow the patch's reading, in the same process; mirroring, which comes later, leaves balls and
components what they are. Rules: nnU-Net's.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import Dataset

from segfw.core.settings.training import AugmentationSettings
from segfw.core.types import BoolArray, IntArray, Shape
from segfw.data.next_stage import PreviousStage
from segfw.data.randomness import sample_generator
from segfw.data.sampling import Batch, Key, PatchDataset, Sample, sample_of
from segfw.data.store import Store

PURPOSE = "previous stage"


class StackedMaps:
    """Label maps (1, d0, d1, d2) in files, stacked as (K, d0, d1, d2) int16 where they are read and only there."""

    dtype = np.dtype(np.int16)

    def __init__(self, maps: Sequence[NDArray[np.integer]]) -> None:
        self.maps = tuple(maps)
        self.shape = (len(self.maps), *self.maps[0].shape[1:])
        self.ndim = len(self.shape)

    def __getitem__(self, box: Any) -> NDArray[np.int16]:
        """Read a box; of maps chosen by the first index, too, all are read."""
        first = box[0] if isinstance(box, tuple) else box
        if first is not Ellipsis and first != slice(None):
            read: NDArray[np.int16] = self[...][box]
            return read
        return np.concatenate([part[box].astype(np.int16) for part in self.maps])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(self.dtype if dtype is None else dtype)


class CascadeStore(Store):
    """A store whose label maps have a second channel: the segmentation by the previous stage."""

    def __init__(self, store: Store, previous: PreviousStage) -> None:
        vars(self).update(vars(store))
        self.previous = previous

    def label(self, name: str) -> NDArray[np.integer]:
        """Return the label map and the previous segmentation (2, d0, d1, d2), to be sliced like an array."""
        maps = (super().label(name), self.previous.segmentation(name)[None])
        return cast("NDArray[np.integer]", StackedMaps(maps))


class ChangedPreviousStage(Dataset[Sample]):
    """Patches of `patches` whose previous segmentation, channel 1 of the label map, is changed as `settings` say."""

    def __init__(self, patches: PatchDataset, settings: AugmentationSettings, values: Sequence[int]) -> None:
        self.patches, self.settings, self.values = patches, settings, tuple(values)

    def __getitem__(self, key: Key) -> Sample:
        """Return the patch `index` of `epoch`: the same one in whatever process and order it is asked for."""
        return sample_of(self.__getitems__([key]), 0)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Return the patches that `keys` name."""
        batch = self.patches.__getitems__(keys)
        previous = batch["label"].numpy()[:, 1]
        for label, key in zip(previous, keys, strict=True):
            rng = sample_generator(self.patches.seed, PURPOSE, *key)
            label[...] = change_previous(label, self.values, self.settings, rng)
        return batch


def change_previous(
    label: IntArray, values: Sequence[int], settings: AugmentationSettings, rng: np.random.Generator
) -> IntArray:
    """Return a segmentation `(*F)` with the labels `values` changed at random: operators first, then removal."""
    changes, removes = rng.random(2)
    out = label.copy()
    if changes < settings.previous_operator_probability:
        apply_operators(out, values, settings, rng)
    if removes < settings.previous_removal_probability:
        remove_components(out, values, settings, rng)
    return out


def apply_operators(
    label: IntArray, values: Sequence[int], settings: AugmentationSettings, rng: np.random.Generator
) -> None:
    """Dilate, erode, close or open labels of `label` in place, in random order, by balls of random size."""
    for value in rng.permutation(np.asarray(values)):
        chosen, share = rng.random(2)
        operator = OPERATORS[int(rng.integers(len(OPERATORS)))]
        if chosen < settings.previous_operator_label_probability:
            low, high = settings.previous_radius_range
            before = label == value
            after = within_reach(before, ball_width(low + share * (high - low)), operator)
            label[before & ~after] = 0
            label[after] = value


def remove_components(
    label: IntArray, values: Sequence[int], settings: AugmentationSettings, rng: np.random.Generator
) -> None:
    """Remove one component each of some labels of `label`, in place; neighbors across corners are connected."""
    for value in rng.permutation(np.asarray(values)):
        if rng.random() >= settings.previous_removal_label_probability:
            continue
        box = _box(label == value, 0)
        if box is None:
            continue
        inside = label[box]
        components, _ = ndimage.label(inside == value, np.ones((3,) * label.ndim))
        sizes = np.bincount(components.reshape(-1))[1:]
        small = np.flatnonzero(sizes < settings.previous_removal_size * label.size)
        if len(small):
            inside[components == 1 + small[int(rng.integers(len(small)))]] = 0


def ball_width(radius: float) -> int:
    """Return how many voxels wide the ball of a radius is: 2 r + 1 cut to a whole number, which may be even."""
    return int(2 * radius + 1)


def within_reach(mask: BoolArray, width: int, operator: Callable[[BoolArray, int], BoolArray]) -> BoolArray:
    """Return `operator(mask, width)`, computed only where the mask is and may come to be."""
    box = _box(mask, width)
    if box is None:
        return mask
    out = np.zeros_like(mask)
    out[box] = operator(mask[box], width)
    return out


def dilate(mask: BoolArray, width: int) -> BoolArray:
    """Return where the ball of `width` voxels, centered, meets `mask` (2D: a disk); an even ball is centered low.

    The ball is taken apart into runs along the last axis. What each length of run meets is found once and packed, eight
    voxels in a byte: the many rows of the ball are then joined at an eighth of the memory.
    """
    return _dilate(mask, width, low=(width - 1) // 2)


def erode(mask: BoolArray, width: int) -> BoolArray:
    """Return where the ball lies within `mask`; what is outside the array counts as within."""
    return ~_dilate(~mask, width, low=(width - 1) // 2)


def open_mask(mask: BoolArray, width: int) -> BoolArray:
    """Erode, then dilate by the reflected ball: what is narrower than the ball goes."""
    return _dilate(erode(mask, width), width, low=width // 2)


def close_mask(mask: BoolArray, width: int) -> BoolArray:
    """Dilate, then erode by the reflected ball: gaps narrower than the ball are filled."""
    return ~_dilate(~dilate(mask, width), width, low=width // 2)


OPERATORS = (dilate, erode, close_mask, open_mask)


def _dilate(mask: BoolArray, width: int, low: int) -> BoolArray:
    """Join the mask shifted by every voxel of the ball, which reaches `low` voxels down and the rest up."""
    padded = np.pad(mask, (low, width - 1 - low))
    *shape, length = mask.shape
    packed = [np.packbits(run, axis=-1) for run in _runs(padded, width, length)]
    out = np.zeros_like(packed[0][tuple(slice(n) for n in shape)])
    for offset, run in _rows(width, mask.ndim):
        out |= packed[run][tuple(slice(k, k + n) for k, n in zip(offset, shape, strict=True))]
    return np.unpackbits(out, axis=-1, count=length).view(np.bool_)


def _runs(padded: BoolArray, width: int, length: int) -> list[BoolArray]:
    """Return where runs of `width`, `width - 2`, ... voxels in the middle of the ball's row meet the mask."""
    runs: list[BoolArray] = []
    for first in range((width - 1) // 2, -1, -1):
        run = padded[..., first : first + length] | padded[..., width - 1 - first : width - 1 - first + length]
        runs.append(run | runs[-1] if runs else run)
    return runs[::-1]


@lru_cache(maxsize=64)
def _rows(width: int, ndim: int) -> tuple[tuple[Shape, int], ...]:
    """List the rows of a ball: where each lies (ndim - 1 indices), and how many voxels it lacks at either end.

    Coordinates are doubled, so that the center of an even ball is a whole number too.
    """
    doubled = np.arange(width) * 2 - (width - 1)
    rows = []
    for offset in np.ndindex((width,) * (ndim - 1)):
        rest = (width - 1) ** 2 - int((doubled[list(offset)] ** 2).sum())
        inside = np.flatnonzero(doubled**2 <= rest)
        if len(inside):
            rows.append((offset, int(inside[0])))
    return tuple(rows)


def _box(mask: BoolArray, margin: int) -> tuple[slice, ...] | None:
    """Return the smallest box that holds the mask and a margin around it, within the array; None for an empty mask."""
    box = []
    for axis in range(mask.ndim):
        found = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        if not len(found):
            return None
        box.append(slice(max(int(found[0]) - margin, 0), int(found[-1]) + 1 + margin))
    return tuple(box)
