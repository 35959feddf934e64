"""Values that a user puts in the place of planned ones."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from segfw.core.errors import UsageError
from segfw.core.plan import Configuration, Plan
from segfw.core.plan_checks import check_configuration
from segfw.core.settings import PlanOverrides

_PER_AXIS = ("spacing", "patch_size")
_ROWS_PER_AXIS = ("kernel_sizes", "strides")
_PER_STAGE = ("features_per_stage", "kernel_sizes", "n_conv_per_stage")


def apply_overrides(plan: Plan, overrides: PlanOverrides, configurations: tuple[str, ...]) -> Plan:
    """Return `plan` with the given values in the named configurations; everything else stays, nothing is derived again.

    Raises `UsageError` where a value does not fit a named configuration: numbers of axes, stages or channels, or a
    patch that the strides do not divide.
    """
    given = {field.name: getattr(overrides, field.name) for field in dataclasses.fields(overrides)}
    given = {key: value for key, value in given.items() if value is not None}
    chosen = {name: plan.configuration(name) for name in configurations}
    if not given:
        return plan
    for key, value in given.items():
        _check_axes(key, value, chosen)
    channels = len(plan.channel_names)
    changed = {name: _override(name, configuration, given, channels) for name, configuration in chosen.items()}
    return replace(plan, configurations={**plan.configurations, **changed})


def _check_axes(key: str, value: Any, chosen: dict[str, Configuration]) -> None:
    """Refuse a value that has other axes than a chosen configuration, naming those that it fits."""
    rows: Sequence[Sequence[float]] = (value,) if key in _PER_AXIS else value if key in _ROWS_PER_AXIS else ()
    for row in rows:
        fitting = [name for name, configuration in chosen.items() if len(configuration.spacing) == len(row)]
        if len(fitting) == len(chosen):
            continue
        for name, configuration in chosen.items():
            if name not in fitting:
                choice = f"; choose configurations=[{','.join(fitting)}]" if fitting else ""
                axes = len(configuration.spacing)
                raise UsageError(f"plan.{key}: {name} has {axes} axes, got {len(row)} values: {list(value)}{choice}")


def _override(name: str, configuration: Configuration, given: dict[str, Any], num_channels: int) -> Configuration:
    stages = len(given.get("strides", configuration.strides))
    for key, wanted in (*((key, stages) for key in _PER_STAGE), ("n_conv_per_stage_decoder", stages - 1)):
        value = given.get(key, getattr(configuration, key))
        if len(value) != wanted:
            kind = "decoder stages" if wanted < stages else "stages"
            cause = "" if key in given else " (because plan.strides changes their number: give both)"
            raise UsageError(f"plan.{key}: {name} has {wanted} {kind}, got {len(value)} values{cause}: {list(value)}")
    try:
        changed = replace(configuration, **given)
        check_configuration(changed, num_channels, "plan")
    except UsageError as error:
        raise UsageError(f"the overrides of plan.* do not fit {name}: {error}") from error
    return changed
