"""Batches of a fold: which patches, cut where and by how many processes.

What is in a batch depends on seed, epoch and position alone, so workers, caches, interruptions and machines change
nothing.
"""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from segfw.core.planning.footprint import FLOAT
from segfw.core.support.conversion import nearest
from segfw.core.support.ranks import ALONE, Ranks
from segfw.data.augmentation import build_augmentation
from segfw.data.device_store import DeviceStore, load_on_device
from segfw.data.drawing import check_weights, make_patch_spec, unknown_names
from segfw.data.sampling import Batch, EpochBatchSampler, PatchDataset, Sample, collate, collate_augmented
from segfw.data.store import Store
from segfw.training.cache import Cache, cache_of, find_hindrance, hold_in_memory, refuse_hindered
from segfw.training.cascade import open_store, with_changes
from segfw.training.devices import Device, choose_workers
from segfw.training.epoch_cost import EpochCost
from segfw.training.leaving import leave_signals_to_the_main_process
from segfw.training.run import FoldRun
from segfw.training.worker_errors import PREFETCH, Guarded, PatchLoader, collate_or_fail, workers_that_fit

log = logging.getLogger(__name__)


class SegmentationDataModule(LightningDataModule):
    """Serve a run's training and on-line validation batches, or a rank's share of each, from its store."""

    def __init__(
        self, run: FoldRun, store: Store, device: Device, ranks: Ranks = ALONE, cost: EpochCost | None = None
    ) -> None:
        super().__init__()
        self.run, self.store, self.device, self.ranks, self.cost = run, store, device, ranks, cost
        self._cache: Cache | None = None
        self._held: DeviceStore | None = None

    @classmethod
    def of_run(
        cls, run: FoldRun, device: Device, ranks: Ranks = ALONE, cost: EpochCost | None = None
    ) -> "SegmentationDataModule":
        """Open the run's store; `ArtefactError` when it is not complete."""
        warn_of_unknown_names(run)
        return cls(run, open_store(run), device, ranks, cost)

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

    def _collate(self, training: bool) -> Callable[[Any], Batch]:
        """Return what makes samples a batch, augmented already where that is asked of the loader's processes."""
        run = self.run
        if not training or run.augmentation.device == "auto":
            return collate
        return partial(collate_augmented, build_augmentation(run.resolved_augmentation, run.configuration), run.seed)

    def _loader(self, purpose: str, num_batches: int, workers: int) -> "DataLoader[Sample]":
        run, training = self.run, purpose == "training"
        spec = make_patch_spec(run.configuration, run.sampling, run.augmentation if training else None)
        cases = run.train_cases if training else run.val_cases
        repeated = run.sampling.repeat_batches if training else None
        sampler = EpochBatchSampler(num_batches, spec.batch_size, self.ranks.rank, self.ranks.world_size, repeated)
        if self.trainer is not None:  # Lightning names the epoch only after workers have begun to fetch
            loop: Any = self.trainer.fit_loop
            sampler.set_epoch(loop.epoch_progress.current.processed)
            if training and loop.restarting:  # in the middle of an epoch
                sampler.begin_with(loop.epoch_loop.batch_progress.current.ready)
        held = self._hold()
        cut = None if held is None else held.cut
        whole = PatchDataset(self.store, cases, spec, run.plan.labels, run.seed, purpose, cut)
        patches = with_changes(whole, run) if training else whole
        workers = 0 if held is not None else workers_that_fit(run.data.workers, workers, self._batch_bytes())
        loader = PatchLoader(
            Guarded(patches) if workers else patches,
            batch_sampler=sampler,
            collate_fn=partial(collate_or_fail, self._collate(training)),
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=leave_signals_to_the_main_process if workers else None,
            pin_memory=self.device.accelerator == "cuda" and held is None,
        )
        if self.cost is not None:
            loader.waits = self.cost.training if training else self.cost.validation
        return loader

    def _hold(self) -> DeviceStore | None:
        """Bring the cases to where they are held, once; return them if that is the device."""
        if self._cache is None:
            cases = (*self.run.train_cases, *(self.run.val_cases if self.run.val_batches else ()))
            place = self._place()
            self._cache = cache_of(self.run, self.store, cases, self.device, place)
            if self._cache == "device":
                self._held = load_on_device(self.store, cases, place)
            elif self._cache == "host":
                hold_in_memory(self.store, cases)
        return self._held

    def _place(self) -> torch.device:
        if self.trainer is not None:
            return self.trainer.strategy.root_device
        return torch.device(self.device.accelerator)

    def _batch_bytes(self) -> int:
        configuration = self.run.configuration
        voxels = configuration.batch_size * math.prod(configuration.patch_size)
        maps = 1 if configuration.previous_stage is None else 2
        return voxels * (FLOAT * len(self.run.plan.channel_names) + 2 * maps)


def check_input(run: FoldRun) -> None:
    """Raise, before anything is trained, `UsageError` for weights and a cache by which `run` could not be fed."""
    refuse_hindered(run.data.cache, find_hindrance(run))
    check_weights("sampling.case_weights", run.sampling.case_weights or {}, run.train_cases)
    classes = [name for name, _ in run.plan.labels.foreground]
    check_weights("sampling.class_weights", run.sampling.class_weights or {}, classes)


def warn_of_unknown_names(run: FoldRun) -> None:
    """Say which names of `sampling.class_weights` and `sampling.case_weights` mean nothing in this run."""
    classes = [name for name, _ in run.plan.labels.foreground]
    for name in unknown_names(run.sampling.class_weights or {}, classes):
        log.warning(
            "sampling.class_weights: %r is no class%s; there are %s", name, nearest(name, classes), ", ".join(classes)
        )
    validating = set(run.val_cases)
    strange = [n for n in unknown_names(run.sampling.case_weights or {}, run.train_cases) if n not in validating]
    for name in strange:
        log.warning("sampling.case_weights: %r is no case%s", name, nearest(name, run.train_cases))
