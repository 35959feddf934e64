"""Batches of patches, asked for by the numbers of their samples, and the order in which ranks ask."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.support.attempts import attempt, on_error
from segfw.core.types import FloatArray
from segfw.data.artefacts import add_artefacts, draw_artefacts, has_artefacts
from segfw.data.augmentation import Augmentation, augment
from segfw.data.cutting import cut_on_host
from segfw.data.drawing import (
    PatchDraws,
    PatchSpec,
    Targets,
    check_weights,
    count_numbers,
    draw_patches,
    find_targets,
    is_forced,
)
from segfw.data.randomness import sample_generators, sample_numbers
from segfw.data.store import Store

Key = tuple[int, int]
"""Epoch, and index of a sample within it, over all ranks."""


class Sample(TypedDict):
    """One patch: `image` (C, *F) float32, `label` (L, *F) int16 with -1 outside."""

    image: Tensor
    label: Tensor
    case: str
    index: int
    epoch: int


class Batch(TypedDict):
    """Several patches: `image` (B, C, *F) float32, `label` (B, L, *F) int16, `indices` (B,) int64 within `epoch`."""

    image: Tensor
    label: Tensor
    cases: list[str]
    indices: Tensor
    epoch: int


Cut = Callable[[PatchDraws, PatchSpec], tuple[Tensor, Tensor]]


def sample_of(batch: Batch, row: int) -> Sample:
    """Take one sample out of a batch."""
    return {
        "image": batch["image"][row],
        "label": batch["label"][row],
        "case": batch["cases"][row],
        "index": int(batch["indices"][row]),
        "epoch": batch["epoch"],
    }


class PatchDataset(Dataset[Sample]):
    """Patches of a fold's cases, asked for by (epoch, index); index counts the samples of an epoch over all ranks.

    `cut`: where the patches come from, from the store's files unless it is given.
    """

    def __init__(
        self,
        store: Store,
        cases: Sequence[str],
        spec: PatchSpec,
        labels: LabelSet,
        seed: int,
        purpose: str,
        cut: Cut | None = None,
    ) -> None:
        if not cases:
            raise UsageError(f"no case to draw patches from for {purpose}; the fold's list is empty")
        check_weights("sampling.case_weights", spec.case_weights, cases)
        check_weights("sampling.class_weights", spec.class_weights, [name for name, _ in labels.foreground])
        self.store, self.cases, self.spec, self.labels = store, tuple(cases), spec, labels
        self.seed, self.purpose = seed, purpose
        self.cut = cut or partial(cut_on_host, store)
        self._shares = _summed_shares([spec.case_weights.get(case, 1.0) for case in cases])
        self._targets: dict[tuple[str, bool], Targets | None] = {}

    def __getitem__(self, key: Key) -> Sample:
        """Cut the patch `index` of `epoch`: the same one in whatever process, order and company it is asked for."""
        return sample_of(self.__getitems__([key]), 0)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """Cut the patches of one epoch that `keys` name."""
        epoch, indices = keys[0][0], [index for _, index in keys]
        draws = self.draw(epoch, indices)
        with on_error(lambda error: error.add_note(self._say_where(epoch, indices))):
            image, label = self.cut(draws, self.spec)
        if self.spec.spatial is not None and has_artefacts(self.spec.spatial):
            self._add_artefacts(image, epoch, indices)
        cases, numbers = list(draws.cases), torch.tensor(indices)
        return {"image": image, "label": label, "cases": cases, "indices": numbers, "epoch": epoch}

    def draw(self, epoch: int, indices: Sequence[int]) -> PatchDraws:
        """Draw what the samples `indices` of `epoch` show."""
        spec = self.spec
        numbers = sample_numbers(self.seed, self.purpose, epoch, indices, count_numbers(spec))
        cases = [self.cases[number] for number in np.searchsorted(self._shares, numbers[:, 0], "right")]
        shapes = np.array([self.store.image(case).shape[1:] for case in cases])
        size, fraction = spec.batch_size, spec.foreground_fraction
        forced = [is_forced(index % size, size, fraction) for index in indices]
        return draw_patches(cases, shapes, numbers, spec, lambda row: self._find_targets(cases[row], forced[row]))

    def _add_artefacts(self, image: Tensor, epoch: int, indices: Sequence[int]) -> None:
        settings, ndim = self.spec.spatial, len(self.spec.patch_size)
        assert settings is not None
        generators = sample_generators(self.seed, f"{self.purpose} artefacts", epoch, indices)
        for patch, rng in zip(image, generators, strict=True):
            patch.copy_(add_artefacts(patch, draw_artefacts(rng, ndim, settings)))

    def _say_where(self, epoch: int, indices: Sequence[int]) -> str:
        """Name the first case whose patch cannot be cut by itself either."""
        for index in indices:
            draws = self.draw(epoch, [index])
            if attempt(partial(self.cut, draws, self.spec)).error is not None:
                return f"in a patch of the case {draws.cases[0]!r}, sample {index} of epoch {epoch}"
        return f"in a batch of the cases {sorted({*self.draw(epoch, indices).cases})}"

    def _find_targets(self, case: str, forced: bool) -> Targets | None:
        if not forced and self.labels.ignore_value is None:
            return None
        if (case, forced) not in self._targets:
            locations = self.store.locations(case)
            self._targets[case, forced] = find_targets(self.labels, locations, forced, self.spec.class_weights)
        return self._targets[case, forced]


def _summed_shares(weights: Sequence[float]) -> FloatArray:
    sums = np.cumsum(weights)
    return np.asarray(sums / sums[-1])


def collate(samples: Sequence[Sample] | Batch) -> Batch:
    """Stack patches of one epoch into a batch; one that is a batch already is left as it is."""
    if isinstance(samples, dict):
        return samples
    return {
        "image": torch.stack([sample["image"] for sample in samples]),
        "label": torch.stack([sample["label"] for sample in samples]),
        "cases": [sample["case"] for sample in samples],
        "indices": torch.tensor([sample["index"] for sample in samples]),
        "epoch": samples[0]["epoch"],
    }


def collate_augmented(augmentation: Augmentation, seed: int, samples: Sequence[Sample] | Batch) -> Batch:
    """Stack patches of one epoch into a batch and augment it; see `segfw.data.augmentation.augment`."""
    batch = collate(samples)
    image, label = augment(
        augmentation, batch["image"], batch["label"], seed, batch["epoch"], batch["indices"].tolist()
    )
    return {**batch, "image": image, "label": label}


class EpochBatchSampler(Sampler[list[Key]]):
    """Yield a rank's share of `num_batches` batches as lists of (epoch, index).

    Every batch of `batch_size` is cut into runs, one per rank, the first `batch_size % world_size` of them longer by 1:
    the samples of all ranks together are those of one device. `UsageError` when there are more ranks than samples.
    `repeated`: yield only the first so many batches of epoch 0, over and over; None: every batch once.
    """

    def __init__(
        self, num_batches: int, batch_size: int, rank: int = 0, world_size: int = 1, repeated: int | None = None
    ) -> None:
        if batch_size < world_size:
            raise UsageError(f"a batch of {batch_size} cannot be shared by {world_size} devices")
        self.num_batches, self.batch_size, self.epoch = num_batches, batch_size, 0
        self._first_batch, self._repeated = 0, repeated
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

    def __iter__(self) -> Iterator[list[Key]]:
        first_batch, self._first_batch = self._first_batch, 0
        for batch in range(first_batch, self.num_batches):
            epoch, number = (self.epoch, batch) if self._repeated is None else (0, batch % self._repeated)
            begin = number * self.batch_size + self.first
            yield [(epoch, index) for index in range(begin, begin + self.count)]
