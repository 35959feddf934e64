"""What a plan says where a run has other values than were planned: values given by the user, or fitted to those."""

from collections.abc import Iterator, Mapping
from typing import Any

from segfw.core.plan import Configuration, Plan
from segfw.core.settings.schema import PlanOverrides
from segfw.core.support.words import by

GIVEN = "Given: "
BLOCKS = {
    "spacing": ("spacing",),
    "patch_size": ("patch_size", "batch_size"),
    "median_image_size_in_voxels": ("median_image_size_in_voxels",),
    "architecture": ("features_per_stage", "n_conv_per_stage", "n_conv_per_stage_decoder"),
    "kernel_sizes": ("strides", "kernel_sizes"),
    "normalization_schemes": ("normalization_schemes", "use_mask_for_norm"),
    "batch_dice": ("batch_dice",),
}
"""Block of a plan -> the values in it that may be given, or change with those that are."""
DECIDING = ("spacing", "patch_size", "strides")
"""Values that the reasons of other blocks (`DEPENDENT`) speak of."""
DEPENDENT = {
    "patch_size": DECIDING,
    "architecture": DECIDING,
    "kernel_sizes": DECIDING,
    "resampling": ("spacing",),
}
"""Blocks whose reasons speak of values in `DECIDING`, and of which."""
TOLD_AS_PLANNED = ("patch_size", "batch_size")
"""Values of one block of which often only one is given; the other is then said to be as planned."""


def with_changes(reasons: Mapping[str, str], planned: Plan, run: Plan, overrides: PlanOverrides) -> dict[str, str]:
    """Return the reasons of `planned` (see `plan_reasons`), and what was given where `run` has other values.

    What stays as planned beside a changed patch, spacing or stride says for which planned ones its reason holds.
    """
    changed = dict(reasons)
    for name, before in planned.configurations.items():
        after = run.configurations[name]
        place = f"configurations.{name}."
        for block, speaks_of in DEPENDENT.items():
            others = [key for key in speaks_of if getattr(before, key) != getattr(after, key)]
            if others and f"{place}{block}" in reasons:
                of = f"Here: for the planned {' and '.join(_planned(key, before) for key in others)}: "
                changed[f"{place}{block}"] = reasons[f"{place}{block}"].replace("Here: ", of, 1)
        for block, keys in BLOCKS.items():
            if any(getattr(before, key) != getattr(after, key) for key in keys):
                changed[f"{place}{block}"] = GIVEN + "; ".join(_told(keys, before, after, overrides)) + "."
    return changed


def _planned(key: str, before: Configuration) -> str:
    """Name a deciding value in words."""
    if key == "strides":
        return f"strides {_written(before.strides)}"
    if key == "spacing":
        return f"spacing {by(before.spacing)} mm"
    return f"patch {by(before.patch_size)}"


def _told(
    keys: tuple[str, ...], before: Configuration, after: Configuration, overrides: PlanOverrides
) -> Iterator[str]:
    for key in keys:
        planned, value = getattr(before, key), getattr(after, key)
        given = getattr(overrides, key, None)
        if given is not None:
            taken = "" if value == given else f" (taken as {_written(value)})"
            yield f"plan.{key}={_written(given)}{taken}, planned {_written(planned)}"
        elif value != planned:
            yield f"{key} {_written(value)} follows from other changes, planned {_written(planned)}"
        elif key in TOLD_AS_PLANNED:
            yield f"{key} as planned"


def _written(value: Any) -> str:
    """Write a value as a command line has it."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
