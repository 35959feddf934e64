"""Whether values that are given in the place of planned ones have the axes of the configurations that are run."""

from collections.abc import Mapping, Sequence
from typing import Any

from segfw.core.errors import UsageError

PER_AXIS = ("spacing", "patch_size")
ROWS_PER_AXIS = ("kernel_sizes", "strides")
AXES = {"2d": 2, "3d_lowres": 3, "3d_fullres": 3, "3d_cascade_fullres": 3}
"""What the names of the planners' configurations tell before there is a plan."""


def check_axes(
    key: str, value: Any, axes: Mapping[str, int], chosen: Sequence[str], otherwise: Sequence[str] = ()
) -> None:
    """Refuse a value of `plan.KEY` that has other axes than a `chosen` configuration, naming those that it fits.

    `axes`: configuration -> how many it has; one that is not there is left out. `otherwise`: those that may be named
    where the value fits none of the chosen ones.
    """
    rows: Sequence[Sequence[float]] = (value,) if key in PER_AXIS else value if key in ROWS_PER_AXIS else ()
    for row in rows:
        misfit = next((name for name in chosen if axes.get(name, len(row)) != len(row)), None)
        if misfit is None:
            continue
        fitting = [name for name in chosen if axes.get(name) == len(row)]
        fitting = fitting or [name for name in otherwise if axes.get(name) == len(row)]
        choice = f"; choose configurations=[{','.join(fitting)}]" if fitting else ""
        raise UsageError(f"plan.{key}: {misfit} has {axes[misfit]} axes, got {len(row)} values: {list(value)}{choice}")
