"""The page's part on the plan: what was decided for each configuration, and why."""

import re
from collections.abc import Mapping, Sequence

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.changed_reasons import GIVEN
from segfw.core.planning.comments import COMMENTS, CONFIGURATION_COMMENTS
from segfw.core.support.words import by, readable_count
from segfw.tracking.figures import PAGE, to_svg
from segfw.tracking.network_table import NetworkRow, network_table
from segfw.tracking.numbers import NOTHING
from segfw.tracking.page import Markup, explained, figure, foldable, heading, paragraph, table
from segfw.tracking.topology import topology_figure

NETWORK_CAPTION = (
    "Boxes: feature maps of one patch at each stage; beside them its convolutions and their kernel. Arrows down: "
    "strided convolutions; up: transposed ones; dashed: skip connections."
)
NESTED_CAPTION = " UNet++ has further nodes on the skip connections, which are not drawn."
SHARED = {
    "dataset_name": "Memory",
    "channel_names": "Normalization by channel",
    "transpose_forward": "Order of axes",
    "configurations": "Configurations",
}
OF_CONFIGURATION = {
    "spacing": "Spacing",
    "patch_size": "Patch and batch",
    "kernel_sizes": "Topology",
    "architecture": "Network",
    "normalization_schemes": "Normalization",
    "batch_dice": "Dice",
    "resampling": "Resampling",
}
HERE, RULE = "Here: ", "Rule: "


def plan_section(
    plan: Plan | None,
    parameters: Mapping[str, int],
    reasons: Mapping[str, str],
    notes: Sequence[str],
    first: str | None = None,
) -> str:
    """Return the configurations side by side and, with `reasons` (see `plan_reasons`), why each is so.

    `first`: the configuration whose reasons are open, else the plan's first.
    """
    if plan is None:
        return paragraph("Not made yet.", quiet=True)
    names = list(plan.configurations)
    facts = [_facts(plan.configurations[name], parameters.get(name)) for name in names]
    rows = [(fact, *(of[fact] for of in facts)) for fact in (facts[0] if facts else {})]
    axes = ", ".join("ZYX"[axis] for axis in plan.transpose_forward)
    note = f"Planner “{plan.planner}”. Spatial values follow the planned axis order: {axes}."
    told = "".join(paragraph(each) for each in (note, *notes))
    return told + table(("", *names), rows) + (_why(plan, reasons, first) if reasons else "")


def networks_part(
    networks: Mapping[str, Configuration], compared: Sequence[NetworkRow], channels: int, labels: LabelSet
) -> str:
    """Return what networks would cost, and a drawing of each that was trained, the first one open."""
    parts = [network_table(compared), heading("Networks", 3) if networks else ""]
    for number, (title, configuration) in enumerate(networks.items()):
        description = f"Stages of the network {title}"
        drawing = topology_figure(configuration, channels, labels.num_heads, PAGE)
        caption = NETWORK_CAPTION + (NESTED_CAPTION if configuration.architecture == "unet_plus_plus" else "")
        svg = to_svg(drawing, f"network-{number}", description)
        parts.append(foldable(title, figure(svg, caption), is_open=number == 0))
    return "".join(parts)


def _why(plan: Plan, reasons: Mapping[str, str], first: str | None) -> str:
    shared = [(title, _reason(reasons.get(key, ""), COMMENTS.get(key, ""))) for key, title in SHARED.items()]
    parts = [heading("Why it is so", 3), table(("", "why"), [row for row in shared if row[1]], prose=True)]
    opened = first if first in plan.configurations else next(iter(plan.configurations), None)
    for name, configuration in plan.configurations.items():
        parts.append(foldable(name, _why_configuration(name, configuration, reasons), is_open=name == opened))
    return "".join(parts)


def _why_configuration(name: str, configuration: Configuration, reasons: Mapping[str, str]) -> str:
    if configuration.previous_stage is not None:
        stage = configuration.previous_stage
        return paragraph(f"The network of 3d_fullres, which sees the segmentation of {stage} as further inputs.")
    values = _decided(configuration)
    rows = []
    for key, title in OF_CONFIGURATION.items():
        why = _reason(reasons.get(f"configurations.{name}.{key}", ""), CONFIGURATION_COMMENTS.get(key, ""))
        rows.append((title, values[key], why))
    return table(("", "value", "why"), rows, prose=True)


def _decided(c: Configuration) -> dict[str, str]:
    strides = " ".join(by(row, "×") for row in c.strides)
    return {
        "spacing": f"{by(c.spacing, ' × ')} mm",
        "patch_size": f"{c.batch_size} × ({by(c.patch_size, ' × ')}) voxels",
        "kernel_sizes": f"{len(c.strides)} stages, strides {strides}",
        "architecture": f"{c.architecture}, {' '.join(map(str, c.features_per_stage))} channels",
        "normalization_schemes": ", ".join(dict.fromkeys(c.normalization_schemes)),
        "batch_dice": f"over the {'batch' if c.batch_dice else 'sample'}",
        "resampling": f"spline order {c.resampling.order_image} (images), {c.resampling.order_label} (labels)",
    }


def _reason(here: str, comment: str) -> Markup:
    """Return what decided, and the rule in small print, but for a value that no rule gave."""
    said = _typeset(here.removeprefix(HERE))
    rule = _typeset(comment.partition(RULE)[2])
    return explained(said[:1].upper() + said[1:], f"{RULE}{rule}" if rule and not here.startswith(GIVEN) else "")


def _typeset(text: str) -> str:
    """Return a plan's comment with the signs that a page has."""
    for sign, better in ((">=", "≥"), ("<=", "≤"), ("->", "→")):
        text = text.replace(sign, better)
    return re.sub(r"(?<=\d) x (?=\d)", " × ", text)


def _facts(configuration: Configuration, num_parameters: int | None) -> dict[str, str]:
    cascade = configuration.previous_stage
    return {
        "spacing (mm)": _product(configuration.spacing),
        "median image (voxels)": _product(configuration.median_image_size_in_voxels),
        "patch (voxels)": _product(configuration.patch_size),
        "patch (mm)": _product([n * s for n, s in zip(configuration.patch_size, configuration.spacing, strict=True)]),
        "batch": str(configuration.batch_size),
        "Dice over": "batch" if configuration.batch_dice else "sample",
        "network": configuration.architecture + (f" after {cascade}" if cascade else ""),
        "parameters": NOTHING if num_parameters is None else readable_count(num_parameters),
        "features": " ".join(map(str, configuration.features_per_stage)),
        "blocks, encoder": " ".join(map(str, configuration.n_conv_per_stage)),
        "blocks, decoder": " ".join(map(str, configuration.n_conv_per_stage_decoder)),
        "strides": " ".join("×".join(map(str, row)) for row in configuration.strides),
        "kernels": " ".join("×".join(map(str, row)) for row in configuration.kernel_sizes),
        "normalization": ", ".join(configuration.normalization_schemes),
    }


def _product(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.4g}" for value in values)
