"""What the keys of the optimizer and of its schedule demand of one another."""

import dataclasses
from collections.abc import Mapping

from segfw.core.errors import UsageError
from segfw.core.settings.training import OptimizerSettings, ScheduleSettings

MOMENTS = ("adam", "adamw", "nadam", "radam")
# Key that matters to some only -> to which.
NEEDS_OPTIMIZER = {
    "momentum": ("sgd", "rmsprop"),
    "nesterov": ("sgd",),
    "betas": MOMENTS,
    "amsgrad": ("adam", "adamw"),
}
NEEDS_SCHEDULE = {"exponent": ("poly",)}


def check_optimizer(optimizer: OptimizerSettings, schedule: ScheduleSettings) -> None:
    """Raise `UsageError` for a key that was given and that the chosen optimizer or schedule does not know."""
    _refuse_idle("optimizer", optimizer, NEEDS_OPTIMIZER)
    _refuse_idle("schedule", schedule, NEEDS_SCHEDULE)


def _refuse_idle(
    group: str, settings: OptimizerSettings | ScheduleSettings, needs: Mapping[str, tuple[str, ...]]
) -> None:
    for declared in dataclasses.fields(settings):
        value, names = getattr(settings, declared.name), needs.get(declared.name)
        if names is not None and settings.name not in names and value != declared.default:
            shown = list(value) if isinstance(value, tuple) else value
            wanted = " or ".join(f"{group}={name}" for name in names)
            raise UsageError(
                f"{group}.{declared.name}={shown} would have no effect with {group}={settings.name}; it needs {wanted}"
            )
