"""What a plan asks of disk and host memory, from the fingerprint and the plan alone, before anything is written.

Sizes of stores follow from the fingerprint's shapes exactly, but for the voxels noted per label; memory from counting
the arrays that live at once, plus what an empty process takes. Bytes throughout.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from segfw.core.imaging.preprocessing import MIN_LOCATIONS, MIN_LOCATIONS_SHARE, configuration_spacing
from segfw.core.imaging.resampling import resampled_shape, separate_axis
from segfw.core.plan import Configuration, Fingerprint, Plan
from segfw.core.planning.memory import configuration_memory
from segfw.core.types import Shape

PREPROCESSING_PROCESS = 165e6
"""An idle process with Python, numpy, scipy and SimpleITK; measured on Linux."""
TRAINING_PROCESS = 720e6
"""An idle process that also holds Lightning and a built data loader; measured likewise."""
CUDA_CONTEXT = 2e9
"""What PyTorch's CUDA libraries take of host memory once they are loaded."""
WORKER = 150e6
"""A process that cuts patches: what it does not share with its parent."""
PREFETCHED_BATCHES = 2
LABEL_SHARE = 0.02
"""Share of an image that a label is taken to fill; the fingerprint does not know, and little depends on it."""
SEARCHED = 26
"""Bytes for each voxel that may be noted for a label, while such voxels are sorted and drawn."""
CASE_RECORD = 2300
"""A case's record, its lines in the manifest, and the headers of its arrays."""
FLOAT, SMALL_LABEL, LARGE_LABEL, INDEX = 4, 1, 2, 4
MAPS_KEPT = 2.7
"""Copies of each feature map that a training step holds: for the norm, for the next layer, and half a gradient."""
OPTIMIZER_SLOTS = {"sgd": 1, "adam": 2, "adamw": 2, "nadam": 2, "radam": 2, "rmsprop": 2}
"""Values kept per parameter beside its weight: momentum; first and second moment; second moment and momentum."""


@dataclass(frozen=True)
class CaseGrid:
    """Voxels of one case: as read, cropped, halfway through resampling (in plane only), and as stored."""

    raw: int
    cropped: int
    in_plane: int
    stored: int


def case_grids(fingerprint: Fingerprint, plan: Plan, configuration: Configuration) -> tuple[CaseGrid, ...]:
    """Follow every case of the fingerprint through preprocessing.

    The raw size is not in the fingerprint: each case is taken to lose the median share in cropping.
    """
    grids = []
    for spacing, shape in zip(fingerprint.spacings, fingerprint.shapes_after_crop, strict=True):
        old = tuple(spacing[axis] for axis in plan.transpose_forward)
        cropped: Shape = tuple(shape[axis] for axis in plan.transpose_forward)
        new = configuration_spacing(configuration, spacing, plan.transpose_forward)
        stored = resampled_shape(cropped, old, new)
        axis = separate_axis(old, new, configuration.resampling.force_separate_z)
        in_plane = stored if axis is None else (*stored[:axis], cropped[axis], *stored[axis + 1 :])
        voxels = math.prod(cropped)
        raw = round(voxels / fingerprint.median_relative_size_after_cropping)
        grids.append(CaseGrid(raw, voxels, math.prod(in_plane), math.prod(stored)))
    return tuple(grids)


def store_bytes(fingerprint: Fingerprint, plan: Plan, configuration: Configuration) -> int:
    """Return the size of the preprocessed store of `configuration`."""
    grids = case_grids(fingerprint, plan, configuration)
    return sum(_case_bytes(grid.stored, plan) for grid in grids)


def _case_bytes(voxels: int, plan: Plan) -> int:
    """Return the size of one case: float32 image, label map, voxels noted for each label, records."""
    label = SMALL_LABEL if max(plan.labels.all_values) < 2**7 else LARGE_LABEL
    noted = sum(
        _noted(voxels if key == plan.labels.annotated_key else LABEL_SHARE * voxels)
        for key in plan.labels.location_keys
    )
    return voxels * (FLOAT * len(plan.channel_names) + label) + INDEX * noted + CASE_RECORD


def _noted(voxels: float) -> int:
    """Return how many of a label's voxels preprocessing notes."""
    return round(max(min(MIN_LOCATIONS, voxels), MIN_LOCATIONS_SHARE * voxels))


def checkpoint_bytes(num_parameters: int, optimizer: str, averaged: bool = False) -> int:
    """Return what a fold leaves beside its predictions: two checkpoints and its weights in the packaged model."""
    return FLOAT * num_parameters * (2 * (1 + OPTIMIZER_SLOTS[optimizer] + averaged) + 1)


def preprocessing_bytes(fingerprint: Fingerprint, plan: Plan, configuration: Configuration) -> float:
    """Return the memory of one preprocessing process at its peak, on the case that needs most.

    Rather too much than too little: of CTs of 300 x 512 x 512 and 150 x 256 x 256 voxels, 1.17 and 1.06 times what was
    measured.
    """
    grids = case_grids(fingerprint, plan, configuration)
    return PREPROCESSING_PROCESS + max(_preprocessing_peak(grid, plan) for grid in grids)


def _preprocessing_peak(grid: CaseGrid, plan: Plan) -> float:
    """Count the arrays that live together when the last file is read, and when a channel or the label is resampled.

    Image (float32) and label map (int16) are held as read, the label map as cropped, the resampled image; a channel
    takes two volumes, normalized and after a product (filling holes takes less), the search for labels their voxels.
    """
    image, label = FLOAT * len(plan.channel_names), 2
    small = SMALL_LABEL if max(plan.labels.all_values) < 2**7 else LARGE_LABEL
    stacked = image if len(plan.channel_names) > 1 else 0
    reading = grid.raw * (image + stacked + FLOAT + label)
    held = (image + label) * grid.raw + small * grid.cropped
    largest = max(grid.cropped, grid.in_plane, grid.stored)
    keys = plan.labels.location_keys
    searched = 1.0 if plan.labels.annotated_key in keys else min(1.0, LABEL_SHARE * len(keys))
    resampling = (
        held + image * grid.stored + max(2 * FLOAT * largest, (LARGE_LABEL + SEARCHED * searched) * grid.stored)
    )
    return max(reading, resampling)


@dataclass(frozen=True)
class TrainingMachine:
    """Where a configuration is trained. `workers`: processes that cut training patches, 0 for none."""

    on_cpu: bool
    cuda: bool
    workers: int


def training_bytes(
    plan: Plan, name: str, num_parameters: int, optimizer: str, machine: TrainingMachine, averaged: bool = False
) -> float:
    """Return the host memory of training `name`: processes, batches under way, and on the CPU the network.

    Memory-mapped cases are not counted: the system drops them when memory is short.
    """
    configuration = plan.configuration(name)
    per_voxel = FLOAT * len(plan.channel_names) + (2 if configuration.previous_stage is None else 4)  # label maps
    batch = configuration.batch_size * math.prod(configuration.patch_size) * per_voxel
    validating = -(-machine.workers // 2)
    processes = machine.workers + validating
    total = TRAINING_PROCESS + processes * (WORKER + PREFETCHED_BATCHES * batch) + 2 * batch
    if machine.cuda:
        total += CUDA_CONTEXT
    if machine.on_cpu:
        values = configuration_memory(configuration, plan.labels.num_heads) * configuration.batch_size
        total += FLOAT * (values * MAPS_KEPT + num_parameters * (2 + OPTIMIZER_SLOTS[optimizer] + averaged))
    return total


def once_per_store(store_of: Mapping[str, str]) -> dict[str, str]:
    """Return, for each configuration whose store an earlier one has too, that one; `store_of`: name -> store."""
    first: dict[str, str] = {}
    owners = {name: first.setdefault(store, name) for name, store in store_of.items()}
    return {name: owner for name, owner in owners.items() if owner != name}
