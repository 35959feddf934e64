"""What predicting a case takes from reading to writing, and whether there is as much.

Three cases may be at hand at once, each at another step (so does the verb `predict`); they are taken to be equally
large:

    preparing   image as read ─► as the networks see it
    computing                       images ─► windows ─► logits
    restoring                                            logits ─► label map
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from segfw.core.errors import JobError
from segfw.core.plan import Plan
from segfw.core.types import Shape
from segfw.inference.memory import FLOAT, FREE_SHARE, GB, Budget, Need, WindowDemand, choose_course, enough_for
from segfw.inference.restoring_planes import Place
from segfw.inference.sliding_window import Means


@dataclass(frozen=True)
class CaseSizes:
    """Voxels of an image, and of what is left after cropping; its extent as each configuration sees it."""

    raw: int
    cropped: int
    grids: Mapping[str, Shape]

    @classmethod
    def planned(cls, plan: Plan, names: list[str]) -> "CaseSizes":
        """Return those of the median image that the plan was made for, taken not to be cropped."""
        shape = tuple(round(n) for n in plan.original_median_shape_after_transp)
        grids = {}
        for name in names:
            extent = [round(n) for n in plan.configuration(name).median_image_size_in_voxels]
            grids[name] = (*shape[: 3 - len(extent)], *extent)
        return cls(math.prod(shape), math.prod(shape), grids)


@dataclass(frozen=True)
class CaseNeed:
    """What each step takes. `images`, `maps`: bytes of it that an earlier step has left on the host."""

    preparing: Need
    computing: Need
    restoring: Need
    images: float
    maps: float

    @property
    def total(self) -> Need:
        """For three cases, one at each step."""
        host = self.preparing.host + self.computing.host + self.restoring.host
        return Need(host, self.computing.device + self.restoring.device)

    @property
    def to_come(self) -> Need:
        """What a case that is prepared will take beyond what it holds."""
        return Need(
            self.computing.host - self.images + self.restoring.host - self.maps,
            max(self.computing.device, self.restoring.device),
        )


def case_need(
    plan: Plan, sizes: CaseSizes, means: Mapping[str, Means], budget: Budget, place: Place, sampled: bool = False
) -> CaseNeed:
    """Estimate what a case takes within a budget. `means`: of each configuration; `sampled`: uncertainty is asked for.

    Too much rather than too little: the label map, for one, is held in three forms for a moment only.
    """
    channels, heads = len(plan.channel_names), plan.labels.num_heads
    read = FLOAT * channels * sizes.raw
    largest = max(sizes.raw, *(math.prod(grid) for grid in sizes.grids.values()))
    images = sum(FLOAT * channels * math.prod(grid) for grid in sizes.grids.values())
    demands = {
        name: WindowDemand.of(
            channels + (plan.configuration(name).previous_stage is not None),
            grid,
            plan.configuration(name).patch_size,
            heads,
            means[name].network_bytes,
        )
        for name, grid in sizes.grids.items()
    }
    maps = sum(demand.logits for demand in demands.values())
    preparing = Need(read + images + 2 * FLOAT * largest)
    label = 1 if heads < 255 else 2
    on_device = place.device.type != "cpu"
    restoring = Need(
        maps + label * (sizes.cropped + 2 * sizes.raw) + (0 if on_device else place.band_bytes),
        place.band_bytes if on_device else 0,
    )
    left = left_for_computing(budget, preparing, restoring)
    computing = Need(0)
    for name, demand in demands.items():
        need = choose_course(demand, left, means[name].attempts.current).need
        samples = 2 * FLOAT * heads * math.prod(sizes.grids[name]) if sampled else 0
        held = images - demand.image + maps - demand.logits
        computing = Need(max(computing.host, need.host + held + samples), max(computing.device, need.device))
    return CaseNeed(preparing, computing, restoring, images, maps)


def left_for_computing(budget: Budget, preparing: Need, restoring: Need) -> Budget:
    """Return what is left beside the other two steps; where no budget was given, what is free is left already."""
    if not budget.given:
        return budget
    return replace(budget, host=budget.host - preparing.host - restoring.host, device=budget.device - restoring.device)


def check_need(case: CaseNeed, budget: Budget, what: str) -> None:
    """Raise `JobError` for a case that takes more than its budget; where none was given, than all that is free.

    `what`: the case in words.
    """
    if budget.given:
        need = case.total
        if need.host > budget.host or need.device > budget.device:
            enough = math.ceil(enough_for(need, budget) / GB * 10) / 10
            raise JobError(
                f"{what} takes about {need} in the most frugal way, and inference.memory_gb={budget.host / GB:g} "
                f"allows less; inference.memory_gb={enough:g} would do"
            )
        return
    need, free = case.to_come, Need(budget.host / FREE_SHARE, budget.device / FREE_SHARE)
    if need.host > free.host or need.device > free.device:
        raise JobError(
            f"{what} takes about {need} in the most frugal way, but free are {free}; end other programs or take a "
            "larger machine; a value of inference.memory_gb lets it be tried nonetheless"
        )
