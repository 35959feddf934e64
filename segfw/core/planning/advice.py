"""What suits a device. For a GPU its planner: what nnU-Net's authors recommend for each size of graphics card.

Isensee et al. 2024, "nnU-Net Revisited", and the documentation of its residual encoder presets.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from segfw.core.planning.planners import PLANNERS
from segfw.core.support.words import HOUR

FITTING = (("resenc_xl", 38.0), ("resenc_l", 22.0), ("resenc_m", 9.0))
"""Planner and the least memory, GB, of a card for it: M is published for 9 to 11 GB, L for 24, XL for 40.

Cards that are sold with 24 or 40 GB report a little less.
"""
DEFAULT_NEEDS_GB = 7.5
FEW_ITERATIONS = 5000
"""Iterations of a fold that a CPU does in hours: `experiment=fast` has 600, the published schedule 250,000."""
SMALL_BATCH = 2
"""The smallest batch that the planner's rules give."""


def fitting_planner(memory_gb: float | None) -> str:
    """Return the planner that nnU-Net's authors recommend for a GPU of this size; None stands for no GPU."""
    return next((name for name, least in FITTING if memory_gb is not None and memory_gb >= least), "default")


@dataclass(frozen=True)
class Asked:
    """What a command asks for, as far as it bears on what a device can do.

    `batch_sizes`: configuration -> patches per step; `iterations`: of one fold, None where a time is given instead;
    `seconds`: estimated, of the whole training, None where not known.
    """

    planner: str
    gpu_memory_gb: float | None
    batch_sizes: Mapping[str, int]
    folds: int
    iterations: int | None
    seconds: float | None


def training_advice(memory_gb: float | None, asked: Asked) -> str | None:
    """Say in one line what suits a GPU of `memory_gb` (None: no GPU); None where all of it is asked for already.

    Nor is there advice for a training that a CPU does within an hour.
    """
    if memory_gb is None:
        if asked.seconds is not None and asked.seconds <= HOUR:
            return None
        words = " ".join(_less_work(asked))
        return f"no GPU was found; what makes a training short enough for a CPU: {words}" if words else None
    chosen, fitting, gpu = asked.planner, fitting_planner(memory_gb), f"this GPU has {memory_gb:.1f} GB"
    if memory_gb < DEFAULT_NEEDS_GB:
        if chosen == fitting and asked.gpu_memory_gb is not None and asked.gpu_memory_gb <= memory_gb:
            return None
        return f"{gpu}: planner=default planner.gpu_memory_gb={max(math.floor(memory_gb), 1)} fits it"
    if fitting == chosen:
        return None
    made_for = f", made for {PLANNERS[chosen].gpu_memory_gb:g} GB" if chosen in PLANNERS else ""
    return f"{gpu}: planner={fitting} is made for it (chosen: {chosen}{made_for})"


def _less_work(asked: Asked) -> Iterator[str]:
    """Yield the words that a training on a CPU still lacks."""
    names = list(asked.batch_sizes)
    kept = "3d_fullres" if "3d_fullres" in names else names[0]
    if asked.planner != "default":
        yield "planner=default"
    if asked.iterations is not None and asked.iterations > FEW_ITERATIONS:
        yield "experiment=fast"
    if len(names) > 1:
        yield f"configurations=[{kept}]"
    if asked.folds > 1:
        yield "folds=0"
    if kept != "2d" and asked.batch_sizes[kept] > SMALL_BATCH:
        yield f"plan.batch_size={SMALL_BATCH}"
