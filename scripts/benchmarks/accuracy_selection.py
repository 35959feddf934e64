"""What 2d, the ensemble and postprocessing add to five folds of Hippocampus, by segfw's own selection.

python -m scripts.benchmarks.accuracy_selection --data DATA --work WORK

The rows `FIVE_FOLDS` of `accuracy.py` must have been trained in WORK, both under one name. results/
accuracy_selection_cases.csv has the Dice of each case and label of the ensemble and of the winner after postprocessing,
each case by the steps that the cases of the other folds chose.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from scripts.benchmarks.accuracy_figures import CASES, RESULTS, lines_of, load, mean, shown, table, write_table
from scripts.benchmarks.accuracy_ours import Folders, task_words
from scripts.benchmarks.accuracy_rows import DATASETS, FIVE_FOLDS
from scripts.benchmarks.common import child, keep_origin
from segfw.core.scoring.counts import Counts, count_overlaps
from segfw.core.scoring.postprocessing import Step, apply_steps
from segfw.core.support.conversion import from_plain
from segfw.io.formats.readers import read_label

TABLE = RESULTS / "accuracy_selection_cases.csv"
NAME = f"{FIVE_FOLDS[0].run}_s0"
ENSEMBLE, POSTPROCESSED = "ensemble of both", "3d_fullres, postprocessed"


def select(folders: Folders) -> Path:
    """Let segfw compare the two configurations and their ensemble; return its folder of selections."""
    configurations = ",".join(sorted(row.trained for row in FIVE_FOLDS))
    words = [*task_words("Hippocampus", folders), "experiment=fast", f"configurations=[{configurations}]"]
    words += [f"name={NAME}", "stages=[select]", "executor.workers=2"]
    child([sys.executable, "-m", "segfw", *words], sampling=2.0)()
    return folders.outputs("Hippocampus") / "selection"


def of_ensemble(selection: Path) -> Iterator[dict[str, object]]:
    """Give a line per case and label of the ensemble of both configurations."""
    (path,) = (selection / NAME).glob("*+*/scores.json")
    for entry in json.loads(path.read_text(encoding="utf-8")):
        if not entry["steps"]:
            for label, counts in entry["labels"].items():
                yield line(ENSEMBLE, entry["fold"], entry["case"], label, Counts(*counts).dice)


def of_postprocessed(selection: Path, run: Path, references: Path) -> Iterator[dict[str, object]]:
    """Give a line per case and label of the winner, after the postprocessing that the other folds' cases chose."""
    about = yaml.safe_load((selection / f"{NAME}.yaml").read_text(encoding="utf-8"))
    keys = {label: (value,) for label, value in DATASETS["Hippocampus"].labels}
    for left_out in about["cross_fitted"]["left_out"]:
        if not left_out["winner"].endswith(f"/{run.name}"):
            raise RuntimeError(f"fold {left_out['fold']}: {left_out['winner']} won and not {run.name}")
        steps = tuple(from_plain(Step, step) for step in left_out["postprocessing"])
        for path in sorted((run / f"fold_{left_out['fold']}" / "validation").glob("*.nii.gz")):
            segmentation, reference = (read_label(folder / path.name) for folder in (path.parent, references))
            found = apply_steps(segmentation.array[0], steps, segmentation.spacing)
            for label, counts in count_overlaps(reference.array[0], found, keys).items():
                yield line(POSTPROCESSED, left_out["fold"], path.name.removesuffix(".nii.gz"), label, counts.dice)


def line(contestant: str, fold: int, case: str, label: str, dice: float) -> dict[str, object]:
    """Return a line of the table."""
    return {"contestant": contestant, "fold": fold, "case": case, "label": label, "dice": f"{dice:.6f}"}


def contestants() -> str:
    """Return the table of both configurations, their ensemble and the winner postprocessed: mean Dice of each label."""
    labels = [label for label, _ in DATASETS["Hippocampus"].labels]
    scores = {row.trained: lines_of(CASES, row.name) for row in reversed(FIVE_FOLDS)}
    scores |= {name: [each for each in load(TABLE) if each["contestant"] == name] for name in (ENSEMBLE, POSTPROCESSED)}
    rows = []
    for name, mine in scores.items():
        dice = [mean((each for each in mine if each["label"] == label), "dice") for label in labels]
        rows.append([name, *map(shown, dice), shown(mean(mine, "dice")), str(len(mine) // len(labels))])
    return table(["", *(f"Dice {label}" for label in labels), "mean", "cases"], rows)


def main() -> None:
    """Select, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real datasets")
    parser.add_argument("--work", type=Path, required=True, help="the folder that accuracy.py was given")
    options = parser.parse_args()
    folders = Folders(options.data.absolute(), options.work.absolute())
    selection, run = select(folders), folders.outputs("Hippocampus") / "runs" / NAME / "default/planned/3d_fullres"
    references = folders.of(DATASETS["Hippocampus"]) / "labelsTr"
    lines = [*of_ensemble(selection), *of_postprocessed(selection, run, references)]
    write_table(TABLE, lines)
    keep_origin(TABLE, "segfw", "torch", "numpy")
    print(contestants())


if __name__ == "__main__":
    main()
