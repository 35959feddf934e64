"""Which configurations a command runs: those it names, or all for which it has what they need."""

import logging
from collections.abc import Callable, Sequence

from segfw.core.errors import UsageError
from segfw.core.plan import Plan
from segfw.core.settings.schema import ConfigurationChoice

log = logging.getLogger(__name__)

Lacking = Callable[[str, bool], Sequence[int]]
"""Name of a configuration, whether this command trains it -> its folds that are neither finished nor in the command."""


def choose_configurations(plan: Plan, choice: ConfigurationChoice, lacking: Lacking) -> tuple[str, ...]:
    """Return the chosen configurations, each behind the one that it takes segmentations of.

    A second stage of a cascade is fed with every case by the fold that left it out, so that it needs all folds of the
    first. Where they are lacking, `auto` leaves it out, and a named one raises `UsageError`.
    """
    names = plan.training_order(plan.configurations if choice == "auto" else choice)
    chosen: list[str] = []
    for name in names:
        previous = plan.configuration(name).previous_stage
        folds = [] if previous is None else lacking(previous, previous in chosen)
        if not folds:
            chosen.append(name)
            continue
        needs = (
            f"it takes the segmentations of {previous} by all its folds, of which "
            f"{', '.join(map(str, folds))} are neither finished nor trained by this command"
        )
        remedy = f"configurations=[{previous},{name}] folds=cv trains both, folds=cv with [{previous}] the first alone"
        if choice != "auto":
            raise UsageError(f"configurations: {name} cannot be trained: {needs}; {remedy}")
        log.info("configuration %s is left out: %s; %s", name, needs, remedy)
    return tuple(chosen)


def check_mirror_axes(plan: Plan, names: Sequence[str], axes: Sequence[int]) -> None:
    """Raise `UsageError` that names the configuration whose patches lack one of `axes`, those to mirror."""
    for name in names:
        ndim = len(plan.configuration(name).patch_size)
        if any(not 0 <= axis < ndim for axis in axes):
            raise UsageError(
                f"augmentation.mirror_axes must be among {list(range(ndim))} for the configuration {name}, got "
                f"{list(axes)}; configurations= leaves it out"
            )


def without_second_stages(plan: Plan, names: tuple[str, ...], choice: ConfigurationChoice) -> tuple[str, ...]:
    """Return the configurations that folds with an inner split can train: all but second stages of cascades.

    Most cases are held out by no fold then, so that the first stage has no segmentation of them to hand on. `auto`
    leaves a second stage out, a named one raises `UsageError`.
    """
    second = [name for name in names if plan.configuration(name).previous_stage is not None]
    if second and choice != "auto":
        raise UsageError(
            f"configurations: {second[0]} takes the segmentation of every case by the fold that left it out, which "
            f"split.inner_share does not give; leave one of them out"
        )
    for name in second:
        log.info("configuration %s is left out: it cannot be trained with split.inner_share", name)
    return tuple(name for name in names if name not in second)
