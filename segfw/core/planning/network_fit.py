"""Another network on a plan: where it needs more memory than the planner has, batch or patch give way by its rule.

The planners weigh the network that they choose. One that holds more feature maps on the same topology gets the largest
batch that fits, and where not even the smallest does, the patch is cut as in planning, axis by axis. What a person has
given stays as it is. A network of the user's own holds nobody knows how much.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from segfw.core.plan import Configuration, Plan
from segfw.core.planning.memory import configuration_memory
from segfw.core.planning.overrides import RefitGivens
from segfw.core.planning.patch_size import choose_batch, exceeds, shrink
from segfw.core.planning.planners import PLANNERS, Givens, estimated_gpu_memory_gb, givens_of
from segfw.core.planning.refit import dataset_voxels
from segfw.core.planning.topology import Topology
from segfw.core.settings.schema import NetworkSettings, PlanOverrides
from segfw.core.support.words import by

MUCH = 1.5
"""Times the memory planned for that the rule itself never takes: rounding to whole patches, batches of at least two."""
_OF_PATCH = ("patch_size", "spacing", "strides", "kernel_sizes")


@dataclass(frozen=True)
class FittedPlan:
    """A plan with patches and batches that suit the network, and a line for each configuration that had to change."""

    plan: Plan
    messages: tuple[str, ...]


def as_built(configuration: Configuration, network: NetworkSettings) -> Configuration | None:
    """Return `configuration` with the architecture that is built; None for a network of the user's own."""
    if network.target is not None:
        return None
    return configuration if network.name == "planned" else replace(configuration, architecture=network.name)


def plan_as_built(plan: Plan, network: NetworkSettings) -> Plan:
    """Return `plan` with the architectures that are built; as it is for a network of the user's own."""
    built = {name: as_built(c, network) or c for name, c in plan.configurations.items()}
    return replace(plan, configurations=built)


def fit_to_network(
    plan: Plan, network: NetworkSettings, overrides: PlanOverrides, configurations: Sequence[str], givens: RefitGivens
) -> FittedPlan:
    """Return `plan` with what `network` has memory for in the named configurations.

    `plan`: overrides applied; `overrides`: what was given, which is told about but not changed.
    """
    fitted: dict[str, Configuration] = {}
    messages: list[str] = []
    for name in configurations:
        planned = plan.configuration(name)
        built = as_built(planned, network)
        if built is not None and built.architecture != planned.architecture:
            changed = _fit(plan, built, overrides, givens)
            messages += _message(plan, name, built, changed, givens)
            fitted[name] = replace(changed, architecture=planned.architecture)
    return FittedPlan(replace(plan, configurations={**plan.configurations, **fitted}), tuple(messages))


def _budget(plan: Plan, built: Configuration, given: float | None) -> Givens:
    """Return the planner's calibration for the architecture, and the memory that the plan was made for."""
    known = PLANNERS.get(plan.planner)
    return givens_of(plan, built, given or (known.gpu_memory_gb if known else None))


def _fit(plan: Plan, built: Configuration, overrides: PlanOverrides, givens: RefitGivens) -> Configuration:
    budget = _budget(plan, built, givens.gpu_memory_gb)
    changed = built
    if all(getattr(overrides, key) is None for key in _OF_PATCH):
        topology = Topology(built.strides, built.kernel_sizes, built.patch_size, built.divisor)
        *_, topology = shrink(
            topology,
            built.spacing,
            built.median_image_size_in_voxels,
            lambda smaller: exceeds(budget, configuration_memory(_on(built, smaller), budget.num_outputs), smaller),
        )
        changed = _on(built, topology)
    if overrides.batch_size is not None:
        return changed
    estimate = configuration_memory(changed, budget.num_outputs)
    batch = choose_batch(budget, estimate, changed.patch_size, dataset_voxels(plan, built, givens.num_training))
    if changed.patch_size == built.patch_size:  # whatever share of the dataset its batch is, the network changes none
        return replace(changed, batch_size=min(batch.fitting_size, built.batch_size))
    return replace(changed, batch_size=batch.size)


def _on(configuration: Configuration, topology: Topology) -> Configuration:
    """Return the network on another topology: stages that are gone leave the bottom, new ones repeat it."""
    stages = len(topology.strides)

    def bottom_last(values: tuple[int, ...], count: int) -> tuple[int, ...]:
        return (*values[:count], *values[-1:] * (count - len(values)))

    decoder = bottom_last(configuration.n_conv_per_stage_decoder[::-1], stages - 1)[::-1]
    return replace(
        configuration,
        patch_size=topology.patch_size,
        strides=topology.strides,
        kernel_sizes=topology.kernel_sizes,
        features_per_stage=bottom_last(configuration.features_per_stage, stages),
        n_conv_per_stage=bottom_last(configuration.n_conv_per_stage, stages),
        n_conv_per_stage_decoder=decoder,
    )


def _message(
    plan: Plan, name: str, built: Configuration, changed: Configuration, givens: RefitGivens
) -> tuple[str, ...]:
    """Say what was reduced, from what and why; or that what was given needs much more than the plan was made for."""
    target = _budget(plan, built, givens.gpu_memory_gb).gpu_memory_gb
    needs = estimated_gpu_memory_gb(replace(plan, configurations={name: built}), name)
    before = f"{by(built.patch_size)} and batch {built.batch_size}"
    cost = f"about {needs:.2g} GB, and the plan is made for {target:.3g} GB"
    start = f"network={built.architecture}: {name}"
    if changed.patch_size == built.patch_size and changed != built:
        batches = f"batch {changed.batch_size} instead of {built.batch_size}"
        return (f"{start} takes {batches} on patches of {by(built.patch_size)}: that would need {cost}",)
    if changed != built:
        after = f"{by(changed.patch_size)} and batch {changed.batch_size}"
        return (f"{start} takes patch {after} instead of {before}: those would need {cost}",)
    return (f"{start} with patch {before} needs {cost}",) if needs > MUCH * target else ()
