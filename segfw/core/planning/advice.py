"""Which planner suits a device: what nnU-Net's authors recommend for each size of graphics card.

Isensee et al. 2024, "nnU-Net Revisited", and the documentation of its residual encoder presets.
"""

import math

from segfw.core.planning.planners import PLANNERS

FITTING = (("resenc_xl", 38.0), ("resenc_l", 22.0), ("resenc_m", 9.0))
"""Planner and the least memory, GB, of a card for it: M is published for 9 to 11 GB, L for 24, XL for 40.

Cards that are sold with 24 or 40 GB report a little less.
"""
DEFAULT_NEEDS_GB = 7.5


def fitting_planner(memory_gb: float | None) -> str:
    """Return the planner that nnU-Net's authors recommend for a GPU of this size; None stands for no GPU."""
    return next((name for name, least in FITTING if memory_gb is not None and memory_gb >= least), "default")


def planner_advice(memory_gb: float | None, chosen: str) -> str:
    """Say in one line which planner suits a GPU of `memory_gb` (None: no GPU), beside the one that is `chosen`."""
    if memory_gb is None:
        return (
            "no GPU was found; what a CPU can do is planner=default with experiment=fast and little of everything: "
            "configurations=[3d_fullres] folds=0 plan.batch_size=2"
        )
    fitting, gpu = fitting_planner(memory_gb), f"this GPU has {memory_gb:.1f} GB"
    if memory_gb < DEFAULT_NEEDS_GB:
        return f"{gpu}: planner=default planner.gpu_memory_gb={max(math.floor(memory_gb), 1)} fits it"
    if fitting == chosen:
        return f"{gpu}: planner={chosen}, which was chosen, is the one for it"
    made_for = f", made for {PLANNERS[chosen].gpu_memory_gb:g} GB" if chosen in PLANNERS else ""
    return f"{gpu}: planner={fitting} is the one for it (chosen: {chosen}{made_for})"
