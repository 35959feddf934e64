"""Which case and which patch each sample of a batch shows. Rules: nnU-Net's data loader."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from segfw.core.errors import UsageError
from segfw.core.labels import LabelKey, LabelSet
from segfw.core.plan import Configuration
from segfw.core.training_settings import AugmentationSettings, SamplingSettings
from segfw.core.types import IntArray, Shape
from segfw.data.artefacts import add_artefacts, draw_artefacts, has_artefacts
from segfw.data.augmentation import Augmentation, augment
from segfw.data.randomness import sample_generator
from segfw.data.spatial import SpatialDraw, draw_spatial, loader_patch_size, read_patch
from segfw.data.store import Store


@dataclass(frozen=True)
class PatchSpec:
    """What patches are cut: `patch_size` as the network sees it (2 or 3 axes), `batch_size` over all ranks.

    `spatial`: settings of rotation, scaling and shift; None for patches shown as they are (validation).
    """

    patch_size: Shape
    batch_size: int
    foreground_fraction: float = 0.33
    spatial: AugmentationSettings | None = None

    @cached_property
    def loader_size(self) -> Shape:
        """The extent that a patch may be drawn from, in the axes of `patch_size`."""
        return self.patch_size if self.spatial is None else loader_patch_size(self.patch_size, self.spatial)

    @cached_property
    def box_size(self) -> Shape:
        """`patch_size` in the three axes of the store: a slice is one voxel deep."""
        return (1,) * (3 - len(self.patch_size)) + self.patch_size

    @cached_property
    def loader_box(self) -> Shape:
        """`loader_size` in the three axes of the store."""
        return (1,) * (3 - len(self.patch_size)) + self.loader_size


def make_patch_spec(
    configuration: Configuration, sampling: SamplingSettings, spatial: AugmentationSettings | None
) -> PatchSpec:
    """Make the patches of a configuration; `spatial` is None for validation."""
    return PatchSpec(configuration.patch_size, configuration.batch_size, sampling.foreground_fraction, spatial)


def is_forced(position: int, batch_size: int, foreground_fraction: float) -> bool:
    """Whether the sample at `position` of a batch must show foreground: the last ones, as many as the share says."""
    return position >= round(batch_size * (1 - foreground_fraction))


def start_bounds(shape: Shape, box_size: Shape, loader_box: Shape) -> tuple[list[int], list[int]]:
    """Return the first and the last voxel, per axis, where a loader patch drawn anywhere may begin."""
    lowest, highest = [], []
    for n, f, p in zip(shape, box_size, loader_box, strict=True):
        need = max(p - f, p - n)
        lowest.append(-need // 2)
        highest.append(n + need // 2 + need % 2 - p)
    return lowest, highest


def draw_start(
    rng: np.random.Generator,
    shape: Shape,
    spec: PatchSpec,
    locations: dict[LabelKey, IntArray],
    keys: Sequence[LabelKey],
) -> list[int]:
    """Draw where a loader patch begins: around a stored voxel of one of `keys`, or anywhere if all of them are empty.

    Keys are equally likely, however many voxels they have. A patch around a voxel may stick out at the far end.
    """
    lowest, highest = start_bounds(shape, spec.box_size, spec.loader_box)
    keys = [key for key in keys if len(locations.get(key, ()))]
    if not keys:
        return [int(rng.integers(low, high + 1)) for low, high in zip(lowest, highest, strict=True)]
    voxels = locations[keys[int(rng.integers(len(keys)))]]
    voxel = np.unravel_index(int(voxels[int(rng.integers(len(voxels)))]), shape)
    return [max(low, int(v) - p // 2) for low, v, p in zip(lowest, voxel, spec.loader_box, strict=True)]


def keys_to_show(labels: LabelSet, locations: dict[LabelKey, IntArray], forced: bool) -> list[LabelKey]:
    """Return what a patch may be centered on: the case's foreground if it is forced, else what is annotated.

    Empty means anywhere. What is annotated matters only with an ignore label; it also serves forced patches of a case
    without foreground.
    """
    annotated = [] if labels.ignore_value is None else [labels.annotated_key]
    if not forced:
        return list(annotated)
    foreground = [key for _, key in labels.foreground if len(locations.get(key, ()))]
    return foreground or annotated


class Sample(TypedDict):
    """One patch: `image` (C, *F) float32, `label` (1, *F) int16 with -1 outside."""

    image: Tensor
    label: Tensor
    case: str
    forced: bool
    index: int
    epoch: int


class PatchDataset(Dataset[Sample]):
    """Patches of a fold's cases, asked for by (epoch, index); index counts the samples of an epoch over all ranks."""

    def __init__(
        self, store: Store, cases: Sequence[str], spec: PatchSpec, labels: LabelSet, seed: int, purpose: str
    ) -> None:
        if not cases:
            raise UsageError(f"no case to draw patches from for {purpose}; the fold's list is empty")
        self.store, self.cases, self.spec, self.labels = store, tuple(cases), spec, labels
        self.seed, self.purpose = seed, purpose

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Cut the patch `index` of `epoch`: the same one in whatever process and order it is asked for."""
        epoch, index = key
        spec = self.spec
        rng = sample_generator(self.seed, self.purpose, epoch, index)
        case = self.cases[int(rng.integers(len(self.cases)))]
        forced = is_forced(index % spec.batch_size, spec.batch_size, spec.foreground_fraction)
        stored_image, stored_label = self.store.image(case), self.store.label(case)
        locations = self.store.locations(case)
        keys = keys_to_show(self.labels, locations, forced)
        start = draw_start(rng, stored_image.shape[1:], spec, locations, keys)
        if len(spec.patch_size) == 2:
            stored_image, stored_label = stored_image[:, start[0]], stored_label[:, start[0]]
            start = start[1:]
        draw = SpatialDraw(None, (0,) * len(start))
        if spec.spatial is not None:
            draw = draw_spatial(rng, spec.patch_size, spec.spatial)
        image, label = read_patch(stored_image, stored_label, start, (spec.patch_size, spec.loader_size), draw)
        if spec.spatial is not None and has_artefacts(spec.spatial):
            image = add_artefacts(image, draw_artefacts(rng, len(spec.patch_size), spec.spatial))
        return {"image": image, "label": label, "case": case, "forced": forced, "index": index, "epoch": epoch}


class Batch(TypedDict):
    """Several patches: `image` (B, C, *F) float32, `label` (B, 1, *F) int16, `indices` (B,) int64 within `epoch`."""

    image: Tensor
    label: Tensor
    cases: list[str]
    indices: Tensor
    epoch: int


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack patches of one epoch into a batch."""
    return {
        "image": torch.stack([sample["image"] for sample in samples]),
        "label": torch.stack([sample["label"] for sample in samples]),
        "cases": [sample["case"] for sample in samples],
        "indices": torch.tensor([sample["index"] for sample in samples]),
        "epoch": samples[0]["epoch"],
    }


def collate_augmented(augmentation: Augmentation, seed: int, samples: Sequence[Sample]) -> Batch:
    """Stack patches of one epoch into a batch and augment it; see `segfw.data.augmentation.augment`."""
    batch = collate(samples)
    image, label = augment(
        augmentation, batch["image"], batch["label"], seed, batch["epoch"], batch["indices"].tolist()
    )
    return {**batch, "image": image, "label": label}


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yield a rank's share of `num_batches` batches as lists of (epoch, index).

    Every batch of `batch_size` is cut into runs, one per rank, the first `batch_size % world_size` of them longer by 1:
    the samples of all ranks together are those of one device. `UsageError` when there are more ranks than samples.
    """

    def __init__(self, num_batches: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < world_size:
            raise UsageError(f"a batch of {batch_size} cannot be shared by {world_size} devices")
        self.num_batches, self.batch_size, self.epoch = num_batches, batch_size, 0
        self._first_batch = 0
        share, longer = divmod(batch_size, world_size)
        self.first = rank * share + min(rank, longer)
        self.count = share + (rank < longer)

    @property
    def sampler(self) -> "EpochBatchSampler":
        """Itself: where Lightning looks for the object whose `set_epoch` it calls before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def begin_with(self, batch: int) -> None:
        """Let the next iteration, and only that one, leave out the batches before `batch`."""
        self._first_batch = batch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first_batch, self._first_batch = self._first_batch, 0
        for batch in range(first_batch, self.num_batches):
            begin = batch * self.batch_size + self.first
            yield [(self.epoch, index) for index in range(begin, begin + self.count)]
