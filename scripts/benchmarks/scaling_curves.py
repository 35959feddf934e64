"""What costs grow like: the exponent of a cost, a table of all, and a picture of each axis; for `scaling.py`."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

WORST = 1.15
"""Above this an exponent is flagged: n log n between 100 and 10,000 looks like 1.12 to 1.17."""
NOISE = {"cpu": 0.2, "peak_mb": 15.0}
"""What must be exceeded beyond the start-up for a cost to be looked at: seconds, megabytes."""

LEAST_SPAN = 3
"""Times the size that must lie between the ends of what an exponent is taken of."""


@dataclass(frozen=True)
class Point:
    """What a step took at a size: seconds by the clock and of processors, the most memory in 10^6 bytes of all its
    processes together, files that it left, and lines that it said.
    """

    axis: str
    size: float
    step: str
    wall: float
    cpu: float
    peak_mb: float
    files: int
    lines: int


def exponent(points: Sequence[Point], field: str) -> float | None:
    """Return the slope by least squares of log(cost - start-up) over log(size); None where too little can be seen.

    Start-up: the cost at the smallest size. Of the others those count whose cost exceeds it by the noise, two at least
    and far enough apart.
    """
    ordered = sorted(points, key=lambda point: point.size)
    start = float(getattr(ordered[0], field))
    beyond = [(point.size, getattr(point, field) - start) for point in ordered[1:]]
    seen = [(size, cost) for size, cost in beyond if cost > NOISE.get(field, 0.0)]
    if len(seen) < 2 or seen[-1][0] < LEAST_SPAN * seen[0][0]:
        return None
    sizes, costs = np.log(np.array(seen, float)).T
    return float(np.polyfit(sizes, costs, 1)[0])


def of_steps(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the points of each step, in the order of the steps."""
    return {step: [point for point in points if point.step == step] for step in dict.fromkeys(p.step for p in points)}


def table(points: Sequence[Point]) -> list[dict[str, object]]:
    """Return a row for each step: what it takes at the largest size, and the exponents of time and memory."""
    rows: list[dict[str, object]] = []
    for step, own in of_steps(points).items():
        first, last = own[0], own[-1]
        grown = {field: exponent(own, field) for field in ("cpu", "peak_mb")}
        rows.append(
            {
                "step": step,
                "size": last.size,
                "cpu": last.cpu,
                "start_cpu": first.cpu,
                "wall": last.wall,
                "peak_mb": last.peak_mb,
                "start_peak_mb": first.peak_mb,
                "files": last.files,
                "lines": last.lines,
                "cpu_exponent": grown["cpu"],
                "peak_mb_exponent": grown["peak_mb"],
                "flagged": any(each is not None and each > WORST for each in grown.values()),
            }
        )
    return rows


def told(rows: Sequence[Mapping[str, object]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| step | processor s | at the smallest | exponent | peak MB | at the smallest | exponent | files | lines |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [f"{row['cpu']:.1f}", f"{row['start_cpu']:.1f}", _power(row["cpu_exponent"])]
        cells += [f"{row['peak_mb']:.0f}", f"{row['start_peak_mb']:.0f}", _power(row["peak_mb_exponent"])]
        lines.append(f"| {row['step']} | {' | '.join(cells)} | {row['files']} | {row['lines']} |")
    return "\n".join(lines)


def _power(value: object) -> str:
    if not isinstance(value, float):
        return "-"
    return f"**{value:.2f}**" if value > WORST else f"{value:.2f}"


def save_points(path: Path, points: Sequence[Point]) -> None:
    """Write the points as CSV; those of other axes and sizes that the file holds stay."""
    measured = {(point.axis, point.size) for point in points}
    kept = [point for point in load_points(path) if (point.axis, point.size) not in measured]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Point)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            asdict(point) for point in sorted([*kept, *points], key=lambda point: (point.axis, point.size))
        )


def load_points(path: Path) -> list[Point]:
    """Return the points of a CSV; none where it is not there."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Point(**{field.name: field.type(row[field.name]) for field in fields(Point)})  # type: ignore[operator]
            for row in csv.DictReader(file)
        ]


def draw(path: Path, title: str, unit: str, points: Sequence[Point]) -> None:
    """Draw processor seconds and memory of each step over the size, both logarithmic, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, field, name in zip(panels, ("cpu", "peak_mb"), ("processor seconds", "peak memory, MB"), strict=True):
        for number, (step, own) in enumerate(of_steps(points).items()):
            power = exponent(own, field)
            label = step if power is None else f"{step}  {power:.2f}"
            style = {"marker": "os^vDxP*"[number // 10 % 8], "markersize": 4, "linewidth": 1.1}
            panel.plot([p.size for p in own], [max(getattr(p, field), 1e-2) for p in own], label=label, **style)
        sizes = sorted({point.size for point in points})
        if sizes[0] > 0 and math.log10(sizes[-1] / sizes[0]) > 1:
            panel.set_xscale("log")
        panel.set(yscale="log", xlabel=unit, title=name)
        panel.grid(alpha=0.3, which="major")
    panels[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, title="exponent")
    panels[0].legend(fontsize=7, loc="center right", bbox_to_anchor=(-0.16, 0.5), frameon=False, title="exponent")
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
