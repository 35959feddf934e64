"""What a model's networks have been found to take, and the checks that its cases fit into memory."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from segfw.core.imaging.preprocessing import PreprocessedCase
from segfw.core.plan import Configuration, Plan
from segfw.core.settings.schema import InferenceSettings
from segfw.inference.allocations import small_tile
from segfw.inference.fallbacks import Attempts
from segfw.inference.memory import Budget, memory_budget, restoring_places
from segfw.inference.needs import CaseSizes, case_need, check_need, left_for_computing
from segfw.inference.restoring_planes import Place
from segfw.inference.sliding_window import Means, prepare_means

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CaseMemory:
    """How the cases of one command are kept within memory.

    `means`: of each configuration's networks; `places`: where logits are restored.
    """

    plan: Plan
    means: Mapping[str, Means]
    places: Attempts[Place]
    memory_gb: float | None
    device: torch.device

    def check(self, image: Mapping[str, PreprocessedCase], sampled: bool) -> Budget:
        """Return what is left for computing a case; `image`: as each configuration sees it.

        Raises `JobError` when it does not suffice, not even for the most frugal way. `sampled`: for uncertainty.
        """
        record = next(iter(image.values())).record
        sizes = CaseSizes(
            raw=prod(record.shape_before_cropping),
            cropped=prod(record.shape_after_cropping),
            grids={name: case.image.shape[1:] for name, case in image.items()},
        )
        budget = memory_budget(self.memory_gb, self.device)
        need = case_need(self.plan, sizes, self.means, budget, self.places.current, sampled)
        shape = " x ".join(str(record.shape_before_cropping[axis]) for axis in self.plan.transpose_backward)
        check_need(need, budget, f"an image of {shape} voxels")
        return left_for_computing(budget, need.preparing, need.restoring)

    def announce(self, sampled: bool) -> None:
        """Log what an image of the size that was planned for takes."""
        budget = memory_budget(self.memory_gb, self.device)
        sizes = CaseSizes.planned(self.plan, list(self.means))
        need = case_need(self.plan, sizes, self.means, budget, self.places.current, sampled)
        median = self.plan.original_median_shape_after_transp
        shape = " x ".join(str(median[axis]) for axis in self.plan.transpose_backward)
        log.info("predicting an image of median size (%s voxels) takes about %s", shape, need.total)


def open_memory(
    plan: Plan,
    networks: Mapping[str, Sequence[nn.Module]],
    foreign: bool,
    settings: InferenceSettings,
    device: torch.device,
) -> CaseMemory:
    """Try the networks of each configuration, in evaluation mode, on a small window; `foreign` ones on their own."""
    means = {
        name: network_means(plan, plan.configuration(name), members[0], foreign, settings.window_batch_size)
        for name, members in networks.items()
    }
    places = restoring_places(device, memory_budget(settings.memory_gb, device))
    return CaseMemory(plan, means, Attempts("restoring", places), settings.memory_gb, device)


def network_means(
    plan: Plan, configuration: Configuration, network: nn.Module, foreign: bool, batch_size: int | None
) -> Means:
    """Return the means for one network of a configuration; a second stage takes the previous label map as well."""
    patch = configuration.patch_size
    tile = patch if foreign else small_tile(patch, configuration.strides)
    channels = len(plan.channel_names) + (configuration.previous_stage is not None)
    return prepare_means(network, channels, patch, tile, batch_size, foreign)
