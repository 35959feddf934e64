"""Batches of a fold: which patches, cut by how many processes.

What is in a batch depends on seed, epoch and position alone, so workers, interruptions and machines change nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from segfw.core.ranks import ALONE, Ranks
from segfw.data.augmentation import build_augmentation
from segfw.data.sampling import (
    Batch,
    EpochBatchSampler,
    PatchDataset,
    Sample,
    collate,
    collate_augmented,
    make_patch_spec,
)
from segfw.data.store import Store
from segfw.training.cascade import open_store, with_changes
from segfw.training.devices import Device, choose_workers
from segfw.training.run import FoldRun


class SegmentationDataModule(LightningDataModule):
    """Serve a run's training and on-line validation batches, or a rank's share of each, from its store."""

    def __init__(self, run: FoldRun, store: Store, device: Device, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.run, self.store, self.device, self.ranks = run, store, device, ranks

    @classmethod
    def of_run(cls, run: FoldRun, device: Device, ranks: Ranks = ALONE) -> "SegmentationDataModule":
        """Open the run's store; `ArtefactError` when it is not complete."""
        return cls(run, open_store(run), device, ranks)

    def train_dataloader(self) -> "DataLoader[Sample]":
        """Serve `trainer.limit_train_batches` augmented batches per epoch."""
        workers = choose_workers(self.run.data.workers, self.device)
        return self._loader("training", self.run.trainer.limit_train_batches, workers)

    def val_dataloader(self) -> "DataLoader[Sample] | list[DataLoader[Sample]]":
        """Serve `run.val_batches` batches as they are, or none where there is nothing to validate on."""
        if not self.run.val_batches:
            return []
        workers = choose_workers(self.run.data.workers, self.device)
        return self._loader("validation", self.run.val_batches, -(-workers // 2))

    def _collate(self, training: bool) -> Callable[[Sequence[Sample]], Batch]:
        """Return what makes samples a batch, augmented already where that is asked of the loader's processes."""
        run = self.run
        if not training or run.augmentation.device == "auto":
            return collate
        return partial(collate_augmented, build_augmentation(run.resolved_augmentation, run.configuration), run.seed)

    def _loader(self, purpose: str, num_batches: int, workers: int) -> "DataLoader[Sample]":
        run, training = self.run, purpose == "training"
        spec = make_patch_spec(run.configuration, run.sampling, run.augmentation if training else None)
        cases = run.train_cases if training else run.val_cases
        sampler = EpochBatchSampler(num_batches, spec.batch_size, self.ranks.rank, self.ranks.world_size)
        if self.trainer is not None:  # Lightning names the epoch only after workers have begun to fetch
            loop: Any = self.trainer.fit_loop
            sampler.set_epoch(loop.epoch_progress.current.processed)
            if training and loop.restarting:  # in the middle of an epoch
                sampler.begin_with(loop.epoch_loop.batch_progress.current.ready)
        patches = PatchDataset(self.store, cases, spec, run.plan.labels, run.seed, purpose)
        return DataLoader(
            with_changes(patches, run) if training else patches,
            batch_sampler=sampler,
            collate_fn=self._collate(training),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.device.accelerator == "cuda",
        )
