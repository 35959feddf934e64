"""What the training of a second stage adds to that of any other: where its further input comes from."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segfw.core.errors import ArtefactError
from segfw.data.cascade import CascadeStore, ChangedPreviousStage
from segfw.data.next_stage import PreviousStage
from segfw.data.sampling import PatchDataset
from segfw.data.store import Store
from segfw.inference.cascade import FedNetwork
from segfw.training.run import FoldRun


def open_store(run: FoldRun) -> Store:
    """Open a run's store, that of a second stage with the previous segmentations; `ArtefactError` if one is lacking."""
    store = Store.open(Path(run.store))
    name = run.configuration.previous_stage
    if name is None:
        return store
    if run.previous is None:
        raise ArtefactError(f"{run.configuration_name} fold {run.fold} has no segmentations of {name} to begin with")
    folders = dict(zip(map(Path, run.previous.folders), run.previous.manifests, strict=True))
    cases = (*run.train_cases, *run.val_cases)
    shapes = {case: store.record(case).resampled_shape for case in cases}
    return CascadeStore(store, PreviousStage.reopen(folders, shapes))


def with_changes(patches: PatchDataset, run: FoldRun) -> PatchDataset | ChangedPreviousStage:
    """Return the training patches of a run, with previous segmentations changed at random where there are any."""
    if run.configuration.previous_stage is None:
        return patches
    return ChangedPreviousStage(patches, run.augmentation, run.plan.labels.foreground_values)


def whole_case(store: Store, case: str) -> Tensor:
    """Return a whole case for a network: its image (C, d0, d1, d2), for a `fed` one with the previous label map below.

    float32, in memory.
    """
    if not isinstance(store, CascadeStore):
        return torch.from_numpy(np.array(store.image(case)))
    previous = store.previous.segmentation(case)[None].astype(np.float32)
    return torch.from_numpy(np.concatenate([store.image(case), previous]))


def fed(network: nn.Module, run: FoldRun) -> nn.Module:
    """Return the network as whole cases are given to it."""
    if run.configuration.previous_stage is None:
        return network
    return FedNetwork(network, run.plan.labels.foreground_values)
