"""Plans as YAML that people read and edit: a comment on every block, short lists on one line, strict when read back."""

import textwrap
from collections.abc import Mapping
from typing import Any

from segfw.core.conversion import from_plain, to_plain
from segfw.core.errors import SegfwError, UsageError
from segfw.core.inheritance import INHERITS, find_inheritance, resolve_inheritance
from segfw.core.plan import Plan
from segfw.core.plan_checks import check_plan
from segfw.core.strict_yaml import dump_yaml, load_strict_yaml

_HEADER = (
    "What the planning rules of nnU-Net (Isensee et al. 2021) decided for this dataset. Edit it freely: an edited plan "
    "is used as it is. Spacings are in millimetres, sizes in voxels, in the planned order of axes. 'Rule' says how a "
    "value is chosen, 'Here' which numbers of this dataset decided it when the plan was made."
)

_COMMENTS = {
    "dataset_name": "The dataset this was planned for, and the rules that planned it.",
    "channel_names": "One per input channel. Rule: the name decides the normalization (CT: clipped; others: z-scored) "
    "unless task.normalization states another.",
    "labels": "Label values; a list of values is a region. regions_class_order: the value painted for each region, in "
    "painting order. Rule: regions are learned with one sigmoid channel each, plain labels with a softmax.",
    "original_median_spacing_after_transp": "Medians of the raw images, in planned order of axes; for information.",
    "transpose_forward": "Order of axes: entry i is the image axis (0: Z, 1: Y, 2: X) that becomes axis i; "
    "transpose_backward undoes it. Rule: the axis of largest spacing goes first.",
    "intensities": "Per channel: statistics of foreground voxels over all cases. Rule: CT is clipped to the "
    "percentiles 0.5 and 99.5, then mean is subtracted and divided by std; task.window puts its edges, level and half "
    "its width in their places.",
    "configurations": "The networks that can be trained.",
}

_CONFIGURATION_COMMENTS = {
    INHERITS: "All of the named configuration but for the keys below; any configuration may be written so.",
    "spacing": "Every image is resampled to this spacing. Rule: the median of the dataset, but the 10th percentile "
    "along a coarse axis; in 3d_lowres grown by 3 % at a time until a patch covers a quarter of the median image. "
    "2d: the two axes after the first.",
    "patch_size": "What the network sees at once, and how many of these per step. Rule: the largest patch that "
    "fits the memory, a multiple of the product of the strides; then the largest batch, "
    "at most a share of the dataset's voxels.",
    "median_image_size_in_voxels": "Median size of the images at this spacing; for information.",
    "architecture": "unet (plain convolutions) or residual_unet (residual encoder), and channels per stage. Rule: 32, "
    "doubled at each stage up to 512 (2D) or 320 (3D).",
    "kernel_sizes": "One row per stage. Rule: an axis is halved while 4 voxels remain and its voxels are less than "
    "twice as long as the finest; kernels stay 1 along an axis until the others have caught up with its spacing.",
    "n_conv_per_stage": "Convolutions (unet) or residual blocks (residual_unet) per encoder stage; convolutions per "
    "decoder stage, deepest first.",
    "normalization_schemes": "Per channel: ct, zscore, nonorm, rescale_to_0_1 or rgb_to_0_1; use_mask_for_norm: "
    "z-score inside the nonzero region only. Rule: used where cropping removes more than a quarter of the volume.",
    "batch_dice": "Dice over the whole batch instead of per sample. Rule: in 2d, and in 3d_fullres where there is a "
    "3d_lowres.",
    "resampling": "Spline orders. Rule: a coarse axis (spacing over three times the others') is resampled on its own, "
    "with order_z; force_separate_z: true or false overrules that.",
    "previous_stage": "The cascade: the configuration whose segmentation is a further input, and the one that takes "
    "this one's.",
}
_COMMENT_WIDTH = 108


def plan_to_yaml(plan: Plan, reasons: Mapping[str, str] | None = None) -> str:
    """Write `plan` as YAML with a comment on each block; numbers come back bit for bit.

    `reasons`: dotted key -> what led to the block that begins there, such as `plan_reasons` gives.
    """
    reasons = reasons or {}
    plain = to_plain(plan)
    configurations = find_inheritance(plain.pop("configurations"))
    parts = [_comment(_HEADER), _blocks(plain, _COMMENTS, reasons), "\n"]
    parts += [_comment(_COMMENTS["configurations"], reasons.get("configurations", "")), "configurations:\n"]
    for name, configuration in configurations.items():
        key = dump_yaml({name: None}).removesuffix(" null\n")
        place = f"configurations.{name}."
        own = {key.removeprefix(place): text for key, text in reasons.items() if key.startswith(place)}
        blocks = _blocks(configuration, _CONFIGURATION_COMMENTS, own, indent=4).removeprefix("\n")
        parts.append(f"\n  {key}\n{blocks}")
    return "".join(parts)


def plan_from_yaml(text: str, place: str = "") -> Plan:
    """Read a plan. `place` says where the text comes from, for messages.

    A configuration may say `inherits: NAME` and hold only the keys in which it differs. Raises `UsageError` for text
    that is no YAML, an unknown key (naming the nearest), or a value that is impossible at its place.
    """
    plain = load_strict_yaml(text, place or "the plan")
    try:
        if isinstance(plain, dict) and isinstance(plain.get("configurations"), dict):
            plain["configurations"] = resolve_inheritance(plain["configurations"])
        plan = from_plain(Plan, plain)
        check_plan(plan)
    except SegfwError as error:
        raise UsageError(f"{place}: {error}" if place else str(error)) from error
    return plan


def _blocks(mapping: dict[str, Any], comments: dict[str, str], reasons: Mapping[str, str], indent: int = 0) -> str:
    """Write the entries of a mapping, an empty line and a comment before each that opens a block."""
    parts = []
    for key, value in mapping.items():
        comment = _comment(comments.get(key, ""), reasons.get(key, ""), indent=indent)
        entry = textwrap.indent(dump_yaml({key: value}), " " * indent)
        parts.append(("\n" + comment if comment else "") + entry)
    return "".join(parts)


def _comment(*texts: str, indent: int = 0) -> str:
    """Write each text as lines of comment, to column 110 at most."""
    lines = [line for text in texts for line in textwrap.wrap(text, _COMMENT_WIDTH - indent)]
    return "".join(f"{' ' * indent}# {line}\n" for line in lines)
