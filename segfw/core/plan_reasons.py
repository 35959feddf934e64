"""Why a generated plan is as it is: for each block the numbers that its rule weighed, in a sentence.

The sentences only format what the rules' own functions return for the same givens, so that they cannot tell another
story than the plan.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from segfw.core.dataset import Dataset
from segfw.core.memory import configuration_memory
from segfw.core.patch_size import (
    MIN_BATCH_SIZE,
    choose_batch,
    exceeds_memory,
    initial_patch,
    shrink_to_memory,
    uncut_patch,
)
from segfw.core.plan import Configuration, Fingerprint, Plan
from segfw.core.planners import Givens, estimated_gpu_memory_gb, givens_of
from segfw.core.planning import (
    LOWRES_BELOW,
    LOWRES_MIN_RATIO,
    LOWRES_STEP,
    MASK_NORMALIZATION_BELOW,
    LowresSearch,
    search_lowres,
)
from segfw.core.preprocessing import configuration_spacing
from segfw.core.refit import dataset_voxels
from segfw.core.resampling import separate_axis
from segfw.core.settings import PlannerSettings
from segfw.core.spacing import ANISOTROPY_THRESHOLD, coarse_axis, coarse_percentile, median_shape, median_spacing

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
    def givens(self) -> Givens:
        return givens_of(self.plan, self.plan.configurations["2d"], self.planner.gpu_memory_gb)

    @cached_property
    def lowres(self) -> LowresSearch | None:
        return None if self.full is None else search_lowres(self.givens, self.full, self.dataset.num_training)

    @property
    def cases(self) -> str:
        count = len(self.fingerprint.spacings)
        return "the only case" if count == 1 else f"{count} cases"


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
        "spacing": _why_lowres_spacing(planned.lowres)
        if name == "3d_lowres" and planned.lowres is not None
        else _why_spacing(planned),
        "patch_size": f"{_why_patch(planned, configuration)} {_why_batch(planned, name)}",
        "median_image_size_in_voxels": f"Here: of {planned.cases}.",
        "architecture": f"Here: {planned.plan.planner} plans a {configuration.architecture}; this patch gives it "
        f"{len(configuration.strides)} stages.",
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
    forward = planned.plan.transpose_forward
    if planned.full is None:
        return "Here: images are single slices; Z is first already."
    spacing = _by(planned.full.spacing[axis] for axis in planned.plan.transpose_backward)
    first = AXES[forward[0]]
    verdict = "no axis is larger than Z, which stays first" if forward[0] == 0 else f"{first} is largest and goes first"
    return f"Here: the target spacing is {spacing} mm (Z, Y, X): {verdict}."


def _why_these(planned: _Planned) -> str:
    full, search = planned.full, planned.lowres
    if full is None or search is None:
        return "Here: the median image is a single slice, so 2d only."
    covered = math.prod(full.patch_size) / math.prod(full.median_image_size_in_voxels)
    if search.candidate is None:
        return f"Here: a patch of 3d_fullres covers {_percent(covered)} of the median image, so no 3d_lowres."
    enough = search.configuration is not None
    return (
        f"Here: a patch of 3d_fullres covers {_percent(covered)} of the median image (< {_percent(LOWRES_BELOW)}). "
        f"At {_by(search.candidate.spacing)} mm it covers enough, and the median image has {search.reduction:.3g} "
        f"times fewer voxels ({'>=' if enough else '<'} {LOWRES_MIN_RATIO:g}), "
        f"so {'a 3d_lowres and a cascade' if enough else 'no 3d_lowres'}."
    )


def _why_spacing(planned: _Planned) -> str:
    given = planned.planner.target_spacing
    if given is not None:
        return f"Here: planner.target_spacing=[{', '.join(f'{s:g}' for s in given)}] (Z, Y, X)."
    median, shape = median_spacing(planned.fingerprint), median_shape(planned.fingerprint)
    axis = coarse_axis(median, shape)
    worst = median.index(max(median))
    finer = max(s for i, s in enumerate(median) if i != worst)
    fewest = min(n for i, n in enumerate(shape) if i != worst)
    times = f"{ANISOTROPY_THRESHOLD:g} times"
    head = f"Here: the median of {planned.cases} is {_by(median)} mm (Z, Y, X). {AXES[worst]} is "
    if axis is not None:
        along = coarse_percentile(planned.fingerprint, axis)
        taken = f"which is finer than {finer:.6g} mm: just above that" if along < finer else "taken"
        return (
            f"{head}coarse: {median[axis]:.6g} > {times} {finer:.6g} mm, and {times} its {shape[axis]:g} voxels "
            f"< {fewest:g}. The 10th percentile along it is {along:.6g} mm, {taken}."
        )
    if median[worst] > ANISOTROPY_THRESHOLD * finer:
        return (
            f"{head}{median[worst]:.6g} > {times} {finer:.6g} mm, but {times} its {shape[worst]:g} voxels "
            f">= {fewest:g}, so the median."
        )
    return f"{head}not coarse ({median[worst]:.6g} <= {times} {finer:.6g} mm), so the median."


def _why_lowres_spacing(search: LowresSearch) -> str:
    return (
        f"Here: {search.steps} steps of {100 * (LOWRES_STEP - 1):.0f} % from the spacing of 3d_fullres; now a patch "
        f"covers {_percent(search.covered)} of the median image (>= {_percent(LOWRES_BELOW)})."
    )


def _why_patch(planned: _Planned, configuration: Configuration) -> str:
    spacing, median = configuration.spacing, configuration.median_image_size_in_voxels
    start = initial_patch(spacing, median)
    tried = list(shrink_to_memory(planned.givens, spacing, median))
    cuts, fits = len(tried) - 1, not exceeds_memory(planned.givens, tried[-1])
    text = (
        f"Here: a {'square' if configuration.is_2d else 'cube'} in mm of {_by(uncut_patch(spacing))} voxels, cut to "
        f"the median image of {_by(median)}: {_by(start)}, padded to {_by(tried[0].patch_size)}"
    )
    if cuts:
        text += f"; after {cuts} cut{'s' if cuts > 1 else ''} {_by(tried[-1].patch_size)}"
    return f"{text}, which {'fits the memory' if fits else 'needs more memory, but cannot be cut further'}."


def _why_batch(planned: _Planned, name: str) -> str:
    configuration, givens = planned.plan.configuration(name), planned.givens
    voxels = dataset_voxels(planned.plan, configuration, planned.dataset.num_training)
    estimate = configuration_memory(configuration, givens.num_outputs)
    batch = choose_batch(givens, estimate, configuration.patch_size, voxels)
    least = f" (never below {MIN_BATCH_SIZE})" if batch.size == MIN_BATCH_SIZE else ""
    needs, target = estimated_gpu_memory_gb(planned.plan, name), givens.gpu_memory_gb
    return (
        f"Batch: the memory has room for {batch.fitting:.1f} patches, {_percent(givens.planner.max_dataset_covered)} "
        f"of the dataset's {voxels:.4g} voxels make {batch.cap:.4g}, so {batch.size}{least}. "
        f"Estimate: {needs:.2g} GB of {target:g} GB."
    )


def _why_topology(configuration: Configuration) -> str:
    """Tell what the deepest stage sees, and which axes wait for the others."""
    bottom = [edge // step for edge, step in zip(configuration.patch_size, configuration.divisor, strict=True)]
    size = [s * step for s, step in zip(configuration.spacing, configuration.divisor, strict=True)]
    text = f"Here: the deepest stage sees {_by(bottom)} voxels of {_by(size)} mm"
    flat = [row for row in configuration.kernel_sizes if 1 in row]
    if flat:
        many = len(flat) > 1
        text += f"; kernels are {_by(flat[0])} in the first {f'{len(flat)} stages' if many else 'stage'}"
    return f"{text}."


def _why_mask(planned: _Planned, configuration: Configuration) -> str:
    kept = planned.fingerprint.median_relative_size_after_cropping
    if kept >= MASK_NORMALIZATION_BELOW:
        verdict = f">= {MASK_NORMALIZATION_BELOW:g}, so no mask"
    elif any(configuration.use_mask_for_norm):
        verdict = f"< {MASK_NORMALIZATION_BELOW:g}, so z-scored channels use the mask"
    else:
        verdict = f"< {MASK_NORMALIZATION_BELOW:g}, but no channel is z-scored"
    return f"Here: the median relative size after cropping is {kept:.6g} {verdict}."


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


def _by(values: Iterable[float]) -> str:
    """Write sizes as people do: 40 x 56 x 40."""
    return " x ".join(f"{value:.6g}" for value in values)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
