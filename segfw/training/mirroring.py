"""Which axes a run is mirrored along where the data decide, and a warning where mirroring swaps left and right."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segfw.core.imaging.mirroring import (
    LEAST_CASES,
    Order,
    Places,
    consistent_orders,
    find_places,
    most_shared,
    side_pairs,
)
from segfw.data.augmentation import mirror_axes
from segfw.data.store import Store
from segfw.training.run import FoldRun

log = logging.getLogger(__name__)

KEY = "augmentation.mirror_axes"


def with_mirror_axes(run: FoldRun) -> FoldRun:
    """Return `run` with the axes that `augmentation.mirror_axes=auto` finds in its training cases, and say why.

    Raises `ArtefactError` when the store is not complete.
    """
    if run.augmentation.mirror_axes != "auto":
        return run
    places = label_places(run)
    orders = window_orders(run, places)
    taken = {order.axis for order in orders}
    axes = tuple(axis for axis in range(len(run.configuration.patch_size)) if axis not in taken)
    strongest = {order.axis: str(order) for order in reversed(orders)}
    reasons = "; ".join(strongest[axis] for axis in sorted(strongest)) or _no_order(most_shared(places))
    what = f"{run.configuration_name} fold {run.fold}: {KEY}=auto"
    log.info("%s mirrors along %s; %s", what, list(axes) or "no axis", reasons)
    return replace(run, mirror_axes=axes)


def warn_of_pairs(runs: Sequence[FoldRun]) -> None:
    """Warn once per configuration of labels that look like left and right where training mirrors them."""
    for run in {run.configuration_name: run for run in reversed(runs)}.values():
        axes = mirror_axes(run.resolved_augmentation, len(run.configuration.patch_size))
        pairs = side_pairs(name for name, _ in run.plan.labels.foreground)
        if pairs and axes:
            orders = window_orders(run, label_places(run))
            for line in filter(None, (pair_warning(pair, axes, orders) for pair in pairs)):
                log.warning("%s: %s", run.configuration_name, line)


def label_places(run: FoldRun) -> Places:
    """Locate the labels of the training cases."""
    store = Store.open(Path(run.store))
    cases = ((store.locations(name), store.image(name).shape[1:]) for name in run.train_cases)
    return find_places(run.plan.labels, cases)


def window_orders(run: FoldRun, places: Places) -> list[Order]:
    """Return the consistent orders of the labels, along axes of the run's patches."""
    left_out = 3 - len(run.configuration.patch_size)
    orders = consistent_orders(places)
    return [replace(order, axis=order.axis - left_out) for order in orders if order.axis >= left_out]


def _no_order(cases: int | None) -> str:
    """Say why no axis is left out; `cases`: how many hold the same two labels."""
    if cases is not None and cases < LEAST_CASES:
        return (
            f"too few cases to tell whether labels lie always in one order: {cases} hold two, {LEAST_CASES} are needed"
        )
    return "no labels lie always in one order"


def pair_warning(pair: tuple[str, str], axes: tuple[int, ...], orders: list[Order]) -> str | None:
    """Return what to say of a left/right pair trained with mirroring along `axes`; None where that does not swap it."""
    across = sorted({order.axis for order in orders if {order.first, order.second} == set(pair)})
    swapped = [axis for axis in across if axis in axes]
    if not axes or (across and not swapped):
        return None
    names = f"the labels {pair[0]!r} and {pair[1]!r} look like a left/right pair"
    if not swapped:
        return (
            f"{names}, and training mirrors along the axes {list(axes)}, which may swap them: leave the axis from left "
            f"to right out of {KEY}=[...], or set {KEY}=[] for no mirroring"
        )
    safe = [axis for axis in axes if axis not in swapped]
    return (
        f"{names} that lies side by side along axis {_listed(swapped)}, and training mirrors along that axis, which "
        f"swaps them: set {KEY}={_brackets(safe)}"
    )


def _listed(axes: list[int]) -> str:
    return " and ".join(map(str, axes))


def _brackets(axes: list[int]) -> str:
    return f"[{','.join(map(str, axes))}]"
