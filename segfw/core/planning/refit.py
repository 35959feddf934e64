"""Deriving parts of a configuration again, by the planner's rules, after a person has changed its patch or spacing."""

import math
from dataclasses import replace

from segfw.core.plan import Configuration, Plan
from segfw.core.planning.memory import configuration_memory
from segfw.core.planning.patch_size import choose_batch, decoder_counts, encoder_counts, stage_features
from segfw.core.planning.planners import givens_of
from segfw.core.planning.planning import resized_image
from segfw.core.planning.topology import Topology, make_topology
from segfw.core.types import Shape, Spacing


def refit_topology(plan: Plan, configuration: Configuration, spacing: Spacing, patch: Shape) -> Configuration:
    """Return `configuration` with the network that the rules build for `patch` voxels of `spacing` millimetres.

    Derived: strides, kernels, features, convolutions per stage, and the patch, padded to a multiple of the strides'
    products. The median image is rescaled to the spacing. Everything else stays.
    """
    topology = _topology(configuration, spacing, patch)
    stages, planner = len(topology.strides), givens_of(plan, configuration).planner
    return replace(
        at_spacing(configuration, spacing),
        patch_size=topology.patch_size,
        strides=topology.strides,
        kernel_sizes=topology.kernel_sizes,
        features_per_stage=stage_features(stages, len(spacing)),
        n_conv_per_stage=encoder_counts(planner, stages),
        n_conv_per_stage_decoder=decoder_counts(planner, stages),
    )


def at_spacing(configuration: Configuration, spacing: Spacing) -> Configuration:
    """Return `configuration` with another spacing, and the size that the median image has there."""
    if spacing == configuration.spacing:
        return configuration
    return replace(configuration, spacing=spacing, median_image_size_in_voxels=resized_image(configuration, spacing))


def _topology(configuration: Configuration, spacing: Spacing, patch: Shape) -> Topology:
    """Pool `patch` by the rule; where that depends on what was rounded up to it, take what leaves the network as it is.

    The planner starts from the median image, which may have 7.5 voxels: too few to halve, but a patch of 8 is not.
    """
    median = configuration.median_image_size_in_voxels
    unrounded = tuple(m if math.ceil(m) == n else n for n, m in zip(patch, median, strict=True))
    planned = make_topology(spacing, unrounded)
    unchanged = (planned.strides, planned.kernel_sizes) == (configuration.strides, configuration.kernel_sizes)
    return planned if unchanged else make_topology(spacing, patch)


def refit_batch_size(
    plan: Plan, configuration: Configuration, num_training: int, gpu_memory_gb: float | None = None
) -> Configuration:
    """Return `configuration` with the largest batch that fits the memory and the dataset, by the planner's rule.

    `plan`: as `dataset_voxels` needs it; `gpu_memory_gb`: None takes the planner's own.
    """
    givens = givens_of(plan, configuration, gpu_memory_gb)
    estimate = configuration_memory(configuration, givens.num_outputs)
    voxels = dataset_voxels(plan, configuration, num_training)
    return replace(configuration, batch_size=choose_batch(givens, estimate, configuration.patch_size, voxels).size)


def dataset_voxels(plan: Plan, configuration: Configuration, num_training: int) -> float:
    """Count the voxels of the whole dataset at the spacing of `configuration`; in 2D, those of the whole volumes.

    `plan`: generated or overridden; in each of its configurations the median image has the size that belongs to the
    spacing, which `at_spacing` keeps so where the spacing changes. `configuration` may have a spacing of its own.
    """
    volumes = [other for other in plan.configurations.values() if not other.is_2d]
    full = min(volumes, key=lambda other: math.prod(other.spacing), default=configuration)
    if configuration.is_2d and not full.is_2d:
        spacing = (full.spacing[0], *configuration.spacing)
    else:
        spacing = configuration.spacing
    return math.prod(resized_image(full, spacing)) * num_training
