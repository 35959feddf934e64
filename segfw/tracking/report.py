"""The report: one self-contained page about a dataset, its plan, its trainings and what was selected.

The page shows what its content holds and says what is not there yet; it computes nothing but means for display.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Fingerprint, IntensityStatistics, Plan
from segfw.tracking.curves import curves_figure
from segfw.tracking.figures import PAGE, to_svg
from segfw.tracking.network_table import NetworkRow, network_table
from segfw.tracking.page import columns, figure, foldable, heading, navigation, page, paragraph, section, table, tiles
from segfw.tracking.plots import dice_figure, geometry_figure, intensity_figure
from segfw.tracking.selection_table import CandidateScore, selection_table
from segfw.tracking.topology import topology_figure

NOTHING = "–"
SCHEMES = {
    "ct": "clip, dataset’s mean and std",
    "zscore": "each image’s mean and std",
    "nonorm": "none",
    "rescale_to_0_1": "each image to 0–1",
    "rgb_to_0_1": "divide by 255",
}
NETWORK_CAPTION = (
    "Boxes: feature maps of one patch at each stage; beside them its convolutions and their kernel. Arrows down: "
    "strided convolutions; up: transposed ones; dashed: skip connections."
)
NESTED_CAPTION = " UNet++ has further nodes on the skip connections, which are not drawn."


@dataclass(frozen=True)
class FoldCurves:
    """The rows of one finished fold's `metrics.csv` (see `curves.draw_curves`)."""

    configuration: str
    fold: str
    rows: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class ValidationScores:
    """Whole-case Dice of a configuration's finished folds: label name -> one value per case, NaN where undefined."""

    configuration: str
    folds: tuple[str, ...]
    dice: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class ReportContent:
    """Everything the page tells. What has not been made yet is None or empty.

    `num_parameters`: configuration -> parameters of its network. `networks`: title -> configuration, as it was built,
    of each network that was trained, or else will be. `compared`: what every network would cost. `selection_notes`:
    sentences about the choice. `versions`: what made this -> version.
    """

    dataset_name: str
    run_name: str
    num_cases: int
    channel_names: tuple[str, ...]
    labels: LabelSet
    fingerprint: Fingerprint | None = None
    plan: Plan | None = None
    num_parameters: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, Configuration] = field(default_factory=dict)
    compared: tuple[NetworkRow, ...] = ()
    curves: tuple[FoldCurves, ...] = ()
    validations: tuple[ValidationScores, ...] = ()
    candidates: tuple[CandidateScore, ...] = ()
    winner: str | None = None
    same_cases: bool = True
    selection_notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def build_report(content: ReportContent) -> str:
    """Return the page as HTML text. The same content gives the same text."""
    parts = (
        ("dataset", "Dataset", _dataset),
        ("fingerprint", "Fingerprint", _fingerprint),
        ("plan", "Plan", _plan),
        ("training", "Training", _training),
        ("validation", "Validation", _validation),
        ("selection", "Selection", _selection),
    )
    header = (
        heading(content.dataset_name, 1)
        + paragraph(f"Segmentation report, run “{content.run_name}”", quiet=True)
        + navigation([(anchor, title) for anchor, title, _ in parts])
        + tiles(_key_facts(content))
    )
    footer = " · ".join(f"{name} {version}" for name, version in content.versions.items())
    sections = [section(anchor, title, build(content)) for anchor, title, build in parts]
    return page(f"{content.dataset_name}: {content.run_name}", header, sections, paragraph(footer))


def _key_facts(content: ReportContent) -> list[tuple[str, str]]:
    facts = [
        ("training cases", str(content.num_cases)),
        ("regions" if content.labels.has_regions else "foreground labels", str(len(content.labels.foreground))),
        ("configurations planned", str(len(content.plan.configurations)) if content.plan else NOTHING),
        ("folds finished", str(len(content.curves))),
    ]
    best = next((row for row in content.candidates if row.name == content.winner), None)
    return facts if best is None else [*facts, (f"mean Dice of {best.name}", _number(best.dice, 4))]


def _dataset(content: ReportContent) -> str:
    labels = [
        (name, str(value) if isinstance(value, int) else ", ".join(map(str, value)))
        for name, value in content.labels.values.items()
    ]
    channels = [(str(number), name) for number, name in enumerate(content.channel_names)]
    return columns(
        heading("Labels", 3) + table(("name", "values" if content.labels.has_regions else "value"), labels),
        heading("Channels", 3) + table(("channel", "name"), channels),
    )


def _fingerprint(content: ReportContent) -> str:
    fingerprint = content.fingerprint
    if fingerprint is None:
        return paragraph("Not made yet.", quiet=True)
    geometry = to_svg(
        geometry_figure(fingerprint, content.plan, PAGE), "geometry", "Spacing, shape and extent of the cases per axis"
    )
    intensity = to_svg(
        intensity_figure(content.channel_names, fingerprint.intensities, PAGE), "intensity", "Foreground intensities"
    )
    schemes = _schemes(content)
    rows = [
        (name, *(_number(value, 5) for value in _in_order(statistics)), scheme)
        for name, statistics, scheme in zip(content.channel_names, fingerprint.intensities, schemes, strict=False)
    ]
    planned = "; triangles: target spacing and patch of each configuration" if content.plan else ""
    return (
        figure(geometry, f"One dot per case, after cropping to the nonzero region; bar: median{planned}.")
        + figure(intensity, "Foreground intensities: 0.5th to 99.5th percentile (bar), median (tick), mean (dot).")
        + table(("channel", "mean", "std", "min", "0.5 %", "median", "99.5 %", "max", "normalization"), rows)
        + paragraph(f"Median size after cropping: {fingerprint.median_relative_size_after_cropping:.1%}.", quiet=True)
    )


def _in_order(statistics: IntensityStatistics) -> tuple[float, ...]:
    s = statistics
    return s.mean, s.std, s.min, s.percentile_00_5, s.median, s.percentile_99_5, s.max


def _schemes(content: ReportContent) -> list[str]:
    """Say for each channel how the plan normalizes it; all configurations agree unless one was edited."""
    if content.plan is None:
        return [NOTHING] * len(content.channel_names)
    configurations = content.plan.configurations.values()
    choices = zip(*(c.normalization_schemes for c in configurations), strict=True)
    return [", ".join(dict.fromkeys(SCHEMES[scheme] for scheme in choice)) for choice in choices]


def _plan(content: ReportContent) -> str:
    plan = content.plan
    if plan is None:
        return paragraph("Not made yet.", quiet=True)
    names = list(plan.configurations)
    facts = [_configuration_facts(plan.configurations[name], content.num_parameters.get(name)) for name in names]
    rows = [(fact, *(of[fact] for of in facts)) for fact in (facts[0] if facts else {})]
    axes = ", ".join("ZYX"[axis] for axis in plan.transpose_forward)
    note = f"Planner “{plan.planner}”. Spatial values follow the planned axis order: {axes}."
    return paragraph(note) + table(("", *names), rows) + network_table(content.compared) + _networks(content)


def _networks(content: ReportContent) -> str:
    """Draw each network once, the first one open."""
    parts = [heading("Networks", 3)] if content.networks else []
    channels, heads = len(content.channel_names), content.labels.num_heads
    for number, (title, configuration) in enumerate(content.networks.items()):
        description = f"Stages of the network {title}"
        svg = to_svg(topology_figure(configuration, channels, heads, PAGE), f"network-{number}", description)
        caption = NETWORK_CAPTION + (NESTED_CAPTION if configuration.architecture == "unet_plus_plus" else "")
        parts.append(foldable(title, figure(svg, caption), is_open=number == 0))
    return "".join(parts)


def _configuration_facts(configuration: Configuration, num_parameters: int | None) -> dict[str, str]:
    cascade = configuration.previous_stage
    return {
        "spacing (mm)": _product(configuration.spacing),
        "median image (voxels)": _product(configuration.median_image_size_in_voxels),
        "patch (voxels)": _product(configuration.patch_size),
        "patch (mm)": _product([n * s for n, s in zip(configuration.patch_size, configuration.spacing, strict=True)]),
        "batch": str(configuration.batch_size),
        "Dice over": "batch" if configuration.batch_dice else "sample",
        "network": configuration.architecture + (f" after {cascade}" if cascade else ""),
        "parameters": NOTHING if num_parameters is None else f"{num_parameters / 1e6:.2f} M",
        "features": " ".join(map(str, configuration.features_per_stage)),
        "blocks, encoder": " ".join(map(str, configuration.n_conv_per_stage)),
        "blocks, decoder": " ".join(map(str, configuration.n_conv_per_stage_decoder)),
        "strides": " ".join("×".join(map(str, row)) for row in configuration.strides),
        "kernels": " ".join("×".join(map(str, row)) for row in configuration.kernel_sizes),
        "normalization": ", ".join(configuration.normalization_schemes),
    }


def _training(content: ReportContent) -> str:
    if not content.curves:
        return paragraph("No fold is finished yet.", quiet=True)
    parts = [
        table(
            ("configuration, fold", "epochs", "loss", "validation loss", "patch Dice", "hours"),
            _last_rows(content.curves),
        )
    ]
    for number, run in enumerate(content.curves):
        title = f"{run.configuration}, fold {run.fold}"
        svg = to_svg(curves_figure(run.rows, PAGE), f"curves-{number}", f"Training curves of {title}")
        parts.append(
            foldable(title, figure(svg, "Patch Dice is an estimate from random patches."), is_open=number == 0)
        )
    return "".join(parts)


def _last_rows(curves: Sequence[FoldCurves]) -> list[tuple[str, ...]]:
    """Return a table row per fold: its last losses, the moving average of its patch Dice, its time."""
    rows = []
    for run in curves:
        last = run.rows[-1] if run.rows else {}
        values = [_number(last.get(key), 4) for key in ("train/loss", "val/loss", "val/patch_dice_ema")]
        hours = sum(row.get("seconds", 0.0) for row in run.rows) / 3600
        rows.append((f"{run.configuration}, fold {run.fold}", str(len(run.rows)), *values, f"{hours:.2f}"))
    return rows


def _validation(content: ReportContent) -> str:
    if not content.validations:
        return paragraph("No fold has been validated on whole cases yet.", quiet=True)
    parts = []
    for number, scores in enumerate(content.validations):
        many = "s" if len(scores.folds) > 1 else ""
        rows = [(name, *_distribution(values)) for name, values in scores.dice.items()]
        svg = to_svg(dice_figure(scores.dice, PAGE), f"dice-{number}", f"Dice per label of {scores.configuration}")
        parts += [
            heading(f"{scores.configuration}, fold{many} {', '.join(scores.folds)}", 3),
            table(("label", "cases", "mean Dice", "std", "lowest", "median", "highest"), rows),
            figure(svg, "One dot per case; box from quartile to quartile, the bar is the median."),
        ]
    return "".join(parts)


def _distribution(values: Sequence[float]) -> tuple[str, ...]:
    """Return number, mean, standard deviation, lowest, median and highest of the defined values."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return ("0", *(NOTHING,) * 5)
    mean = sum(known) / len(known)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
    median = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
    return (str(len(known)), *(_number(value, 4) for value in (mean, deviation, known[0], median, known[-1])))


def _selection(content: ReportContent) -> str:
    return selection_table(content.candidates, content.winner, content.same_cases, content.selection_notes)


def _number(value: float | None, digits: int) -> str:
    """Write `digits` significant digits, below 1 in size as many decimals; a dash for none or NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:.{digits}f}" if abs(value) < 1 else f"{value:.{digits}g}"


def _product(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.4g}" for value in values)
