"""Dice against time and against iterations, one picture per dataset."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from scripts.benchmarks.accuracy_rows import PAIRS

COLORS = {"segfw": "tab:blue", "nnunet": "tab:orange"}
LINES = {"fast": "-", "published": "--"}


def draw_curves(curves: Sequence[Mapping[str, str]], runs: Sequence[Mapping[str, str]], folder: Path) -> None:
    """Draw the patch Dice of all equal-budget trainings, a line per seed, over iterations and processor time.

    The clock would tell how busy the machine was. What a whole command took is spread evenly over its epochs.
    """
    done = {(run["row"], run["seed"], run["fold"]) for run in runs}
    folder.mkdir(exist_ok=True)
    for dataset in dict.fromkeys(row.dataset for row in PAIRS):
        rows = [row for row in PAIRS if row.dataset == dataset]
        lines: dict[tuple[str, str, str], list[Mapping[str, str]]] = defaultdict(list)
        for point in curves:
            for row in rows:
                if point["row"] == row.name and (row.name, point["seed"], point["fold"]) in done:
                    lines[row.program, row.recipe, point["seed"]].append(point)
        if lines:
            taken = {
                (run["program"], run["recipe"], run["seed"]): float(run["processor_seconds"])
                for row in rows
                for run in runs
                if run["row"] == row.name
            }
            _draw(dataset, lines, taken, folder / f"accuracy_{dataset.lower()}.svg")


def _draw(
    dataset: str,
    lines: Mapping[tuple[str, str, str], Sequence[Mapping[str, str]]],
    taken: Mapping[tuple[str, str, str], float],
    path: Path,
) -> None:
    plt.rcParams["svg.hashsalt"] = "segfw"
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    for (program, recipe, seed), points in lines.items():
        name = f"{'segfw' if program == 'segfw' else 'nnU-Net'}, {recipe}" if seed == "0" else None
        style = {"color": COLORS[program], "linestyle": LINES[recipe], "linewidth": 1.2, "label": name}
        dice = [float(point["patch_dice"]) for point in points]
        axes[0].plot([int(point["iterations"]) for point in points], dice, **style)
        minutes = [(index + 1) / len(points) * taken[program, recipe, seed] / 60 for index in range(len(points))]
        axes[1].plot(minutes, dice, **style)
    axes[0].set(xlabel="iterations", ylabel="patch Dice", title=dataset, ylim=(0, 1))
    axes[1].set(xlabel="processor minutes, one thread")
    axes[1].legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
