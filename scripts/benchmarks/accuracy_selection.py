"""What 2d, the ensemble and postprocessing add to five folds of Hippocampus, by segfw's own selection.

python -m scripts.benchmarks.accuracy_selection --data DATA --work WORK

The rows `FIVE_FOLDS` of `accuracy.py` must have been trained in WORK, both under one name. results/
accuracy_selection_cases.csv has the Dice of each case and label of every contestant, as it is and, of the winner, after
the postprocessing that was chosen on these cases.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from scripts.benchmarks.accuracy_figures import RESULTS, load, mean, shown, table
from scripts.benchmarks.accuracy_ours import Folders, task_words
from scripts.benchmarks.accuracy_rows import DATASETS, FIVE_FOLDS
from scripts.benchmarks.common import child, keep_origin
from segfw.core.scoring.postprocessing import Step
from segfw.core.support.conversion import from_plain
from segfw.workspace import digest

TABLE = RESULTS / "accuracy_selection_cases.csv"
NAME = f"{FIVE_FOLDS[0].run}_s0"


def select(folders: Folders) -> Path:
    """Let segfw compare the two configurations and their ensemble; return its folder of selections."""
    configurations = ",".join(sorted(row.trained for row in FIVE_FOLDS))
    words = [*task_words("Hippocampus", folders), "experiment=fast", f"configurations=[{configurations}]"]
    words += [f"name={NAME}", "stages=[select]", "executor.workers=2"]
    child([sys.executable, "-m", "segfw", *words], sampling=2.0)()
    return folders.outputs("Hippocampus") / "selection"


def scored(selection: Path) -> Iterator[dict[str, object]]:
    """Give a line per contestant, case and label: raw, and of the winner after the chosen postprocessing."""
    about = yaml.safe_load((selection / f"{NAME}.yaml").read_text(encoding="utf-8"))
    chosen = digest(tuple(from_plain(Step, step) for step in about["postprocessing"]["steps"]))
    for path in sorted((selection / NAME).glob("*/scores.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            if entry["steps"] not in ("", chosen):
                continue
            steps = "chosen" if entry["steps"] else ""
            about_case = {"contestant": path.parent.name, "steps": steps, "fold": entry["fold"], "case": entry["case"]}
            for label, (tp, fp, fn, _) in entry["labels"].items():
                yield {**about_case, "label": label, "dice": f"{2 * tp / (2 * tp + fp + fn):.6f}"}


def contestants() -> str:
    """Return the table of contestants: mean Dice of each label over all cases."""
    lines, rows = load(TABLE), []
    labels = [label for label, _ in DATASETS["Hippocampus"].labels]
    for name, steps in dict.fromkeys((line["contestant"], line["steps"]) for line in lines):
        mine = [line for line in lines if (line["contestant"], line["steps"]) == (name, steps)]
        dice = [mean((line for line in mine if line["label"] == label), "dice") for label in labels]
        rows.append([f"{name}, postprocessed" if steps else name, *map(shown, dice), str(len(mine) // len(labels))])
    return table(["", *(f"Dice {label}" for label in labels), "cases"], rows)


def main() -> None:
    """Select, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real datasets")
    parser.add_argument("--work", type=Path, required=True, help="the folder that accuracy.py was given")
    options = parser.parse_args()
    lines = list(scored(select(Folders(options.data.absolute(), options.work.absolute()))))
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    keep_origin(TABLE, "segfw", "torch", "numpy")
    print(contestants())


if __name__ == "__main__":
    main()
