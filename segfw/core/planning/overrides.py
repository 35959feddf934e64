"""Values that a user puts in the place of planned ones, and what is derived from them on request."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from segfw.core.errors import UsageError
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.checks import check_configuration
from segfw.core.planning.planners import estimated_gpu_memory_gb
from segfw.core.planning.refit import at_spacing, refit_batch_size, refit_topology
from segfw.core.settings.axes_checks import PER_AXIS, check_axes
from segfw.core.settings.schema import PlanOverrides
from segfw.core.support.words import by, readable_size

_PER_STAGE = ("features_per_stage", "kernel_sizes", "n_conv_per_stage")
_REFIT_BY = {"strides": "topology", "kernel_sizes": "topology", "batch_size": "batch_size"}


@dataclass(frozen=True)
class RefitGivens:
    """What deriving anew needs beside the plan: the dataset's size, and the memory target (None: the planner's own)."""

    num_training: int
    gpu_memory_gb: float | None = None


def apply_overrides(plan: Plan, overrides: PlanOverrides, configurations: tuple[str, ...], givens: RefitGivens) -> Plan:
    """Return `plan` with the given values in the named configurations; everything else stays.

    Nothing is derived again but what `overrides.refit` names; the median image keeps its extent in millimetres. Raises
    `UsageError` where a value does not fit a named configuration: numbers of axes, stages or channels, or a patch that
    the strides do not divide.
    """
    given = given_values(overrides)
    chosen = {name: plan.configuration(name) for name in configurations}
    if not given and not overrides.refit:
        return plan
    axes = {name: len(planned.spacing) for name, planned in plan.configurations.items()}
    named = [name for name, planned in plan.configurations.items() if planned.previous_stage is None]
    for key, value in given.items():
        check_axes(key, value, axes, configurations, named)
        if _REFIT_BY.get(key) in overrides.refit:
            raise UsageError(f"plan.{key}={value} and plan.refit=[{_REFIT_BY[key]}] contradict one another; give one")
    changed = {name: _override(plan, name, given, overrides.refit, givens) for name in chosen}
    return replace(plan, configurations={**plan.configurations, **changed})


def given_values(overrides: PlanOverrides) -> dict[str, Any]:
    """Return the values that replace planned ones, by key."""
    values = {field.name: getattr(overrides, field.name) for field in dataclasses.fields(overrides)}
    return {key: value for key, value in values.items() if key != "refit" and value is not None}


def given_keys(overrides: PlanOverrides) -> tuple[str, ...]:
    """Name what a command gives in the place of planned values or has derived again: `plan.KEY` each."""
    return tuple(f"plan.{key}" for key in (*given_values(overrides), *(("refit",) if overrides.refit else ())))


def _override(
    plan: Plan, name: str, given: dict[str, Any], refit: tuple[str, ...], givens: RefitGivens
) -> Configuration:
    configuration = plan.configuration(name)
    if "topology" in refit:
        spacing, patch = (given.get(key, getattr(configuration, key)) for key in PER_AXIS)
        configuration = refit_topology(plan, configuration, spacing, patch)
        given = {key: value for key, value in given.items() if key not in PER_AXIS}
    _check_stages(name, configuration, given, refit)
    try:
        changed = _replaced(configuration, given)
        check_configuration(changed, len(plan.channel_names), "plan")
    except UsageError as error:
        patch, steps = given.get("patch_size", ()), configuration.divisor
        misfit = "strides" not in given and any(n % step for n, step in zip(patch, steps, strict=False))
        hint = "; plan.refit=[topology] derives strides for the patch and pads it" if misfit else ""
        raise UsageError(f"the overrides of plan.* do not fit {name}: {error}{hint}") from error
    if "batch_size" in refit:
        changed = refit_batch_size(plan, changed, givens.num_training, givens.gpu_memory_gb)
    return changed


def _replaced(configuration: Configuration, given: dict[str, Any]) -> Configuration:
    """Put the given values in; what is refused is named as it was given, `plan.KEY`."""
    try:
        spaced = at_spacing(configuration, given.get("spacing", configuration.spacing))
        return replace(spaced, **given)
    except UsageError as error:
        raise UsageError(f"plan.{error}") from error


def _check_stages(name: str, configuration: Configuration, given: dict[str, Any], refit: tuple[str, ...]) -> None:
    """Refuse lists that have not one entry per stage, which other given values may have changed."""
    stages = len(given.get("strides", configuration.strides))
    source = "plan.refit=[topology]" if "topology" in refit else "plan.strides"
    for key, wanted in (*((key, stages) for key in _PER_STAGE), ("n_conv_per_stage_decoder", stages - 1)):
        value = given.get(key, getattr(configuration, key))
        if len(value) != wanted:
            kind = "decoder stages" if wanted < stages else "stages"
            cause = f" (because {source} changes their number{'' if key in given else ': give both'})"
            if key in given and "topology" not in refit:
                cause = ""
            raise UsageError(f"plan.{key}: {name} has {wanted} {kind}, got {len(value)} values{cause}: {list(value)}")


def describe_overrides(
    planned: Plan, changed: Plan, overrides: PlanOverrides, configurations: tuple[str, ...]
) -> list[str]:
    """Say in a line each what `overrides` made of the named configurations beyond the values given: memory, padding."""
    lines = []
    given = given_values(overrides)
    keys = ", ".join(f"plan.{key}" for key in given) or "plan.refit"
    for name in configurations:
        before, after = planned.configuration(name), changed.configuration(name)
        wanted = given.get("patch_size", after.patch_size)
        if after.patch_size != wanted:
            padded, multiples = by(after.patch_size), by(after.divisor)
            lines.append(f"plan.patch_size: {name} takes {padded}, {by(wanted)} padded to multiples of {multiples}")
        if overrides.refit:
            lines.append(
                f"plan.refit: {name} has {len(after.strides)} stages (planned: {len(before.strides)}), "
                f"strides' product {by(after.divisor)} ({by(before.divisor)}), "
                f"batch {after.batch_size} ({before.batch_size})"
            )
        now, then = (readable_size(1e9 * estimated_gpu_memory_gb(plan, name)) for plan in (changed, planned))
        if now != then:
            lines.append(f"{keys}: {name} now needs about {now} of GPU memory (planned: {then})")
    return lines
