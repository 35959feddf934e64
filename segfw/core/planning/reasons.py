"""Why a generated plan is as it is: for each block the numbers that its rule weighed, in a sentence.

The sentences only format what the rules' own functions return for the same givens, so that they cannot tell another
story than the plan.
"""

import math
import operator
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from segfw.core.cases.dataset import Dataset
from segfw.core.imaging.preprocessing import configuration_spacing
from segfw.core.imaging.resampling import separate_axis
from segfw.core.plan import Configuration, Fingerprint, Plan
from segfw.core.planning.memory import configuration_memory
from segfw.core.planning.patch_size import (
    MIN_BATCH_SIZE,
    BatchChoice,
    choose_batch,
    deciding_batch,
    exceeds_memory,
    initial_patch,
    shrink_to_memory,
    uncut_patch,
)
from segfw.core.planning.planners import Givens, estimated_gpu_memory_gb, givens_of
from segfw.core.planning.planning import (
    LOWRES_BELOW,
    LOWRES_MIN_RATIO,
    LOWRES_STEP,
    MASK_NORMALIZATION_BELOW,
    LowresSearch,
    search_lowres,
)
from segfw.core.planning.refit import dataset_voxels
from segfw.core.planning.spacing import (
    ANISOTROPY_THRESHOLD,
    COARSE_AXIS_PERCENTILE,
    coarse_axis,
    coarse_percentile,
    given_spacing,
    median_shape,
    median_spacing,
    target_spacing,
)
from segfw.core.settings.schema import PlannerSettings
from segfw.core.support.words import by, counted, weighed
from segfw.core.types import Spacing

AXES = ("Z", "Y", "X")


@dataclass(frozen=True)
class _Planned:
    """A plan as `make_plan` made it, and what it was made of."""

    plan: Plan
    dataset: Dataset
    fingerprint: Fingerprint
    planner: PlannerSettings

    @property
    def full(self) -> Configuration | None:
        return self.plan.configurations.get("3d_fullres")

    @cached_property
    def target(self) -> Spacing:
        given = self.planner.target_spacing
        return target_spacing(self.fingerprint) if given is None else given_spacing(given)

    @cached_property
    def givens(self) -> Givens:
        return givens_of(self.plan, self.plan.configurations["2d"], self.planner.gpu_memory_gb)

    @cached_property
    def lowres(self) -> LowresSearch | None:
        return None if self.full is None else search_lowres(self.givens, self.full, self.dataset.num_training)

    @property
    def cases(self) -> str:
        count = len(self.fingerprint.spacings)
        return "the only case" if count == 1 else counted(count, "case")


def plan_reasons(plan: Plan, dataset: Dataset, fingerprint: Fingerprint, planner: PlannerSettings) -> dict[str, str]:
    """Return dotted key -> what led to the block that begins there, for `plan` as `make_plan` made it of the others."""
    planned = _Planned(plan, dataset, fingerprint, planner)
    measured = f"Here: of {planned.cases}."
    replaced = "" if plan.intensities == fingerprint.intensities else " task.window replaces those of CT channels."
    reasons = {
        "dataset_name": _why_memory(planned),
        "channel_names": _why_schemes(planned),
        "labels": f"Here: {plan.labels.num_heads} output channels; the memory estimate counts the "
        f"{len(plan.labels.values)} entries of values.",
        "original_median_spacing_after_transp": measured,
        "transpose_forward": _why_order(planned),
        "intensities": measured + replaced,
        "configurations": _why_these(planned),
    }
    for name, configuration in plan.configurations.items():
        if configuration.previous_stage is None:
            own = _configuration_reasons(planned, name)
            reasons |= {f"configurations.{name}.{key}": text for key, text in own.items()}
    return reasons


def _configuration_reasons(planned: _Planned, name: str) -> dict[str, str]:
    configuration = planned.plan.configuration(name)
    return {
        "spacing": _why_lowres_spacing(planned) if name == "3d_lowres" else _why_spacing(planned),
        "patch_size": f"{_why_patch(planned, configuration)} {_why_batch(planned, name)}",
        "median_image_size_in_voxels": f"Here: of {planned.cases}.",
        "architecture": f"Here: the planner {planned.plan.planner} plans a {configuration.architecture}; this patch "
        f"gives it {counted(len(configuration.strides), 'stage')}.",
        "kernel_sizes": _why_topology(configuration),
        "normalization_schemes": _why_mask(planned, configuration),
        "batch_dice": _why_batch_dice(planned, name),
        "resampling": _why_separate(planned, configuration),
    }


def _why_memory(planned: _Planned) -> str:
    own = planned.givens.planner.gpu_memory_gb
    given = planned.planner.gpu_memory_gb
    whose = f"planner.gpu_memory_gb={given:g}; its own would be {own:g}" if given else "the planner's own target"
    return f"Here: for {planned.givens.gpu_memory_gb:g} GB of GPU memory ({whose})."


def _why_schemes(planned: _Planned) -> str:
    schemes = planned.givens.normalization_schemes
    stated = [scheme is not None for scheme in planned.dataset.normalization] or [False] * len(schemes)
    chosen = Counter(
        f"{name} -> {scheme}{' (task.normalization)' if is_stated else ''}"
        for name, scheme, is_stated in zip(planned.plan.channel_names, schemes, stated, strict=True)
    )
    return f"Here: {', '.join(chosen)}."


def _why_order(planned: _Planned) -> str:
    if not planned.planner.transpose:
        return "Here: planner.transpose=false keeps the order of the images."
    first = planned.plan.transpose_forward[0]
    verdict = f"{AXES[first]} is largest and goes first" if first else "no axis is larger than Z, which stays first"
    return f"Here: the target spacing is {by(planned.target)} mm (Z, Y, X): {verdict}."


def _why_these(planned: _Planned) -> str:
    full, search = planned.full, planned.lowres
    if full is None or search is None:
        return "Here: the median image is a single slice, so 2d only."
    covered = math.prod(full.patch_size) / math.prod(full.median_image_size_in_voxels)
    share, limit = weighed(operator.lt, 100 * covered, 100 * LOWRES_BELOW, digits=3)
    head = f"Here: a patch of 3d_fullres covers {share} % of the median image"
    if search.candidate is None:
        return f"{head} (>= {limit} %), so there is no 3d_lowres."
    enough = search.configuration is not None
    fewer, least = weighed(operator.lt, search.reduction, LOWRES_MIN_RATIO, digits=3)
    return (
        f"{head} (< {limit} %). At {by(search.candidate.spacing)} mm it covers enough, and the median image has "
        f"{fewer} times fewer voxels ({'>=' if enough else '<'} {least}), "
        f"so there is {'a 3d_lowres and a cascade' if enough else 'no 3d_lowres'}."
    )


def _why_spacing(planned: _Planned) -> str:
    given = planned.planner.target_spacing
    if given is not None:
        return f"Here: planner.target_spacing=[{', '.join(f'{s:g}' for s in given)}] (Z, Y, X)."
    median, shape = median_spacing(planned.fingerprint), median_shape(planned.fingerprint)
    worst = median.index(max(median))
    finer = max(s for i, s in enumerate(median) if i != worst)
    fewest = min(n for i, n in enumerate(shape) if i != worst)
    times = f"{ANISOTROPY_THRESHOLD:g} times"
    longest, others = weighed(lambda s, other: s > ANISOTROPY_THRESHOLD * other, median[worst], finer)
    voxels, limit = weighed(lambda n, other: ANISOTROPY_THRESHOLD * n < other, shape[worst], fewest)
    head = f"Here: the median of {planned.cases} is {by(median)} mm (Z, Y, X). {AXES[worst]} is "
    if coarse_axis(median, shape) is not None:
        along = coarse_percentile(planned.fingerprint, worst)
        found, bound = weighed(operator.lt, along, finer)
        taken = f"which is finer than {bound} mm: just above that" if along < finer else "taken"
        return (
            f"{head}coarse: {longest} > {times} {others} mm, and {times} its {voxels} voxels < {limit}. "
            f"The {COARSE_AXIS_PERCENTILE:g}th percentile along it is {found} mm, {taken}."
        )
    if median[worst] > ANISOTROPY_THRESHOLD * finer:
        return f"{head}{longest} > {times} {others} mm, but {times} its {voxels} voxels >= {limit}, so the median."
    return f"{head}not coarse ({longest} <= {times} {others} mm), so the median."


def _why_lowres_spacing(planned: _Planned) -> str:
    search, full = planned.lowres, planned.full
    if search is None or search.candidate is None or full is None:
        return ""
    sizes = zip(search.candidate.spacing, full.spacing, strict=True)
    steps = [round(math.log(coarse / fine) / math.log(LOWRES_STEP)) for coarse, fine in sizes]
    each = "" if len(set(steps)) == 1 else f", {', '.join(map(str, steps[:-1]))} and {steps[-1]} of them along the axes"
    covered, limit = weighed(operator.lt, 100 * search.covered, 100 * LOWRES_BELOW, digits=3)
    return (
        f"Here: {counted(search.steps, 'step')} of {_percent(LOWRES_STEP - 1)} from the spacing of 3d_fullres{each}; "
        f"now a patch covers {covered} % of the median image (>= {limit} %)."
    )


def _why_patch(planned: _Planned, configuration: Configuration) -> str:
    spacing, median = configuration.spacing, configuration.median_image_size_in_voxels
    start = initial_patch(spacing, median)
    tried = list(shrink_to_memory(planned.givens, spacing, median))
    text = (
        f"Here: a {'square' if configuration.is_2d else 'cube'} in mm of {by(uncut_patch(spacing))} voxels, cut to "
        f"the median image of {by(median)}: {by(start)}, padded to {by(tried[0].patch_size)}"
    )
    if len(tried) > 1:
        text += f"; after {counted(len(tried) - 1, 'cut')} {by(tried[-1].patch_size)}"
    exceeds = exceeds_memory(planned.givens, tried[-1])
    batch = deciding_batch(planned.givens.planner, len(spacing))
    return f"{text}, which {'does not fit' if exceeds else 'fits'} the memory with a batch of {batch}" + (
        ", but cannot be cut further." if exceeds else "."
    )


def _why_batch(planned: _Planned, name: str) -> str:
    configuration, givens = planned.plan.configuration(name), planned.givens
    voxels = dataset_voxels(planned.plan, configuration, planned.dataset.num_training)
    estimate = configuration_memory(configuration, givens.num_outputs)
    batch = choose_batch(givens, estimate, configuration.patch_size, voxels)
    least = f" (never below {MIN_BATCH_SIZE})" if batch.size > round(min(batch.fitting, batch.cap)) else ""
    return (
        f"Batch: the memory has room for {batch.fitting:.4g} patches, {_percent(givens.planner.max_dataset_covered)} "
        f"of the dataset's {voxels / 1e6:.4g} million voxels make {batch.cap:.4g}, so {batch.size}{least}. "
        f"{_estimate(planned, name, batch)}"
    )


def _estimate(planned: _Planned, name: str, batch: BatchChoice) -> str:
    """Say what the batch needs beside what there is; the smallest batch, or one rounded up, may need more."""
    needs, target = estimated_gpu_memory_gb(planned.plan, name), planned.givens.gpu_memory_gb
    if batch.size <= batch.fitting:
        return f"Estimate: {min(needs, target):.3g} GB, which fits the target of {target:g} GB."
    needed, there = weighed(operator.gt, needs, target, digits=3)
    why = "the batch is rounded to the nearest" if batch.size == round(batch.fitting) else "there is no smaller batch"
    return f"Estimate: {needed} GB, which exceeds the target of {there} GB, since {why}."


def _why_topology(configuration: Configuration) -> str:
    """Tell what the deepest stage sees, and which axes wait for the others."""
    bottom = [edge // step for edge, step in zip(configuration.patch_size, configuration.divisor, strict=True)]
    size = [s * step for s, step in zip(configuration.spacing, configuration.divisor, strict=True)]
    text = f"Here: the deepest stage sees {by(bottom)} voxels of {by(size)} mm"
    runs = [(row, len(list(same))) for row, same in groupby(configuration.kernel_sizes) if 1 in row]
    for number, (row, count) in enumerate(runs):
        stages = "stage" if count == 1 else f"{count} stages"
        text += f"{'; kernels are' if number == 0 else ','} {by(row)} in the {'next' if number else 'first'} {stages}"
    return f"{text}."


def _why_mask(planned: _Planned, configuration: Configuration) -> str:
    kept = planned.fingerprint.median_relative_size_after_cropping
    found, limit = weighed(operator.lt, kept, MASK_NORMALIZATION_BELOW)
    if kept >= MASK_NORMALIZATION_BELOW:
        verdict = f">= {limit}, so no mask"
    elif any(configuration.use_mask_for_norm):
        verdict = f"< {limit}, so z-scored channels use the mask"
    else:
        verdict = f"< {limit}, but no channel is z-scored"
    return f"Here: the median relative size after cropping is {found} {verdict}."


def _why_batch_dice(planned: _Planned, name: str) -> str:
    if name != "3d_fullres":
        return ""
    return f"Here: there is {'a' if '3d_lowres' in planned.plan.configurations else 'no'} 3d_lowres."


def _why_separate(planned: _Planned, configuration: Configuration) -> str:
    """Count the cases with a coarse axis by the function that decides it for each of them."""
    forward, force = planned.plan.transpose_forward, configuration.resampling.force_separate_z
    count = 0
    for spacing, cases in Counter(planned.fingerprint.spacings).items():
        old = tuple(spacing[axis] for axis in forward)
        axis = separate_axis(old, configuration_spacing(configuration, spacing, forward), force)
        count += cases if axis is not None else 0
    return f"Here: {count} of {len(planned.fingerprint.spacings)} cases have a coarse axis, now or at this spacing."


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
