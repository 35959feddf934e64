"""The page's parts on the dataset: labels and channels, and what planning knows of the images."""

from collections.abc import Sequence

from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics, Plan
from segfw.tracking.figures import PAGE, to_svg
from segfw.tracking.numbers import NOTHING, aligned
from segfw.tracking.page import columns, figure, heading, paragraph, table
from segfw.tracking.plots import geometry_figure, intensity_figure

SCHEMES = {
    "ct": "clip, dataset’s mean and std",
    "zscore": "each image’s mean and std",
    "nonorm": "none",
    "rescale_to_0_1": "each image to 0–1",
    "rgb_to_0_1": "divide by 255",
}


def dataset_section(labels: LabelSet, channel_names: Sequence[str]) -> str:
    """Return the tables of labels and channels."""
    values = [
        (name, str(value) if isinstance(value, int) else ", ".join(map(str, value)))
        for name, value in labels.values.items()
    ]
    channels = [(str(index), name) for index, name in enumerate(channel_names)]
    return columns(
        heading("Labels", 3) + table(("name", "values" if labels.has_regions else "value"), values),
        heading("Channels", 3) + table(("channel", "name"), channels),
    )


def fingerprint_section(fingerprint: Fingerprint | None, plan: Plan | None, channel_names: Sequence[str]) -> str:
    """Return figures of geometry and intensities, and the table of what normalization rests on."""
    if fingerprint is None:
        return paragraph("Not made yet.", quiet=True)
    geometry = to_svg(
        geometry_figure(fingerprint, plan, PAGE), "geometry", "Spacing, shape and extent of the cases per axis"
    )
    intensity = to_svg(
        intensity_figure(channel_names, fingerprint.intensities, PAGE), "intensity", "Foreground intensities"
    )
    columns_of_values = [aligned(each, 5) for each in zip(*map(_in_order, fingerprint.intensities), strict=True)]
    values = zip(*columns_of_values, strict=True)
    rows = [
        (name, *of_channel, scheme)
        for name, of_channel, scheme in zip(channel_names, values, _schemes(plan, channel_names), strict=False)
    ]
    planned = "; triangles: target spacing and patch of each configuration" if plan else ""
    return (
        figure(geometry, f"One dot per case, after cropping to the nonzero region; bar: median{planned}.")
        + figure(intensity, "Foreground intensities: 0.5th to 99.5th percentile (bar), median (tick), mean (dot).")
        + table(("channel", "mean", "std", "min", "0.5 %", "median", "99.5 %", "max", "normalization"), rows)
        + paragraph(f"Median size after cropping: {fingerprint.median_relative_size_after_cropping:.1%}.", quiet=True)
    )


def _in_order(statistics: IntensityStatistics) -> tuple[float, ...]:
    s = statistics
    return s.mean, s.std, s.min, s.percentile_00_5, s.median, s.percentile_99_5, s.max


def _schemes(plan: Plan | None, channel_names: Sequence[str]) -> list[str]:
    """Say for each channel how the plan normalizes it; all configurations agree unless one was edited."""
    if plan is None:
        return [NOTHING] * len(channel_names)
    choices = zip(*(c.normalization_schemes for c in plan.configurations.values()), strict=True)
    return [", ".join(dict.fromkeys(SCHEMES[scheme] for scheme in choice)) for choice in choices]
