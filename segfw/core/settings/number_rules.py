"""Which numbers and words each key allows: one table, read by `segfw.core.settings.checks`."""

from collections.abc import Callable

from segfw.core.planning.spacing import LARGEST_SPACING, SMALLEST_SPACING
from segfw.core.settings.training import ACCELERATORS

Rule = tuple[Callable[[float], bool], str]

MOST_AT_ONCE = 1024
"""Threads, processes or devices; PyTorch crashes on a hundred thousand threads, and no machine has as many cores."""

ABOVE_0: Rule = (lambda value: value > 0, "above 0")
AT_LEAST_0: Rule = (lambda value: value >= 0, "at least 0")
AT_LEAST_1: Rule = (lambda value: value >= 1, "at least 1")
UP_TO_MOST: Rule = (lambda value: 0 <= value <= MOST_AT_ONCE, f"between 0 and {MOST_AT_ONCE}")
DEVICES: Rule = (UP_TO_MOST[0], f"between 1 and {MOST_AT_ONCE}, in a list from 0")
"""Numbers; that none is used is refused where a count is told from a list."""
THREADS: Rule = (lambda value: 1 <= value <= MOST_AT_ONCE, f"between 1 and {MOST_AT_ONCE}")
AT_LEAST_2: Rule = (lambda value: value >= 2, "at least 2")
MILLIMETERS: Rule = (
    lambda value: SMALLEST_SPACING <= value <= LARGEST_SPACING,
    f"between {SMALLEST_SPACING:g} and {LARGEST_SPACING:g} mm",
)
SHARE: Rule = (lambda value: 0 <= value <= 1, "between 0 and 1")
SHARE_BELOW_1: Rule = (lambda value: 0 <= value < 1, "at least 0 and below 1")
SHARE_INSIDE: Rule = (lambda value: 0 < value < 1, "above 0 and below 1")
STEP: Rule = (lambda value: 0 < value <= 1, "above 0 and at most 1")
AXIS: Rule = (lambda value: value in (0, 1, 2), "an axis: 0, 1 or 2")
SEED: Rule = (lambda value: 0 <= value < 2**32, "between 0 and 4294967295")

# Dotted key -> rule that each of its numbers has to keep. A key that ends in `*` stands for all that begin so.
NUMBER_RULES: dict[str, Rule] = {
    "split.num_folds": AT_LEAST_2,
    "split.seed": SEED,
    "split.inner_share": SHARE_INSIDE,
    "verify.tolerance": AT_LEAST_0,
    "planner.gpu_memory_gb": ABOVE_0,
    "planner.target_spacing": MILLIMETERS,
    "plan.spacing": MILLIMETERS,
    "plan.*": AT_LEAST_1,
    "augmentation.rotation_degrees": AT_LEAST_0,
    "augmentation.shift_range": SHARE,
    "augmentation.noise_range": AT_LEAST_0,
    "augmentation.mirror_axes": AXIS,
    "augmentation.low_resolution_range": STEP,
    "augmentation.scaling_range": ABOVE_0,
    "augmentation.blur_range": ABOVE_0,
    "augmentation.brightness_range": ABOVE_0,
    "augmentation.contrast_range": ABOVE_0,
    "augmentation.gamma_range": ABOVE_0,
    "augmentation.bias_field_coefficient": AT_LEAST_0,
    "augmentation.motion_degrees": AT_LEAST_0,
    "augmentation.motion_translation": AT_LEAST_0,
    "augmentation.spike_range": AT_LEAST_0,
    "augmentation.offset_deviation": AT_LEAST_0,
    "augmentation.gradient_range": AT_LEAST_0,
    "augmentation.sharpening_range": AT_LEAST_0,
    "augmentation.previous_radius_range": AT_LEAST_1,
    "augmentation.*": SHARE,
    "loss.label_smoothing": SHARE_BELOW_1,
    "loss.topk_share": STEP,
    "loss.tversky_exponent": ABOVE_0,
    "loss.cldice_iterations": AT_LEAST_1,
    "loss.*": AT_LEAST_0,
    "optimizer.lr": ABOVE_0,
    "optimizer.momentum": SHARE_BELOW_1,
    "optimizer.betas": SHARE_BELOW_1,
    "optimizer.weight_decay": AT_LEAST_0,
    "schedule.exponent": ABOVE_0,
    "schedule.warmup": SHARE_BELOW_1,
    "sampling.foreground_fraction": SHARE,
    "sampling.class_weights": AT_LEAST_0,
    "sampling.case_weights": AT_LEAST_0,
    "sampling.repeat_batches": AT_LEAST_1,
    "data.workers": UP_TO_MOST,
    "pretrained.fold": AT_LEAST_0,
    "trainer.gradient_clip_val": AT_LEAST_0,
    "trainer.ema_half_life": STEP,
    "trainer.checkpoint_minutes": ABOVE_0,
    "trainer.devices": DEVICES,
    "trainer.threads": THREADS,
    "trainer.*": AT_LEAST_1,
    "logger.pictures_every": AT_LEAST_1,
    "inference.step_size": STEP,
    "inference.window_batch_size": AT_LEAST_1,
    "inference.depth": AT_LEAST_1,
    "inference.samples": AT_LEAST_2,
    "inference.seed": SEED,
    "inference.memory_gb": ABOVE_0,
    "executor.workers": UP_TO_MOST,
    "executor.retries": AT_LEAST_0,
    "workers": UP_TO_MOST,
    "tolerance_mm": AT_LEAST_0,
    "threads": THREADS,
    "devices": DEVICES,
    "seed": SEED,
}

PRECISIONS = ("auto", "16-mixed", "bf16-mixed", "32-true", "64-true", "16-true", "bf16-true", "16", "bf16", "32", "64")
WORDS = {"trainer.accelerator": ACCELERATORS, "accelerator": ACCELERATORS, "trainer.precision": PRECISIONS}
