"""What it changes that fingerprint and plan see the cases of the validation, too, as nnU-Net's do.

python -m scripts.benchmarks.accuracy_seen --data DATA --work WORK

Of every dataset and fold the plan is made of the training cases alone and compared with that of all cases: results/
seen_cases.csv names the values of the trained configuration that differ, and by how much the intensity statistics do.
Where those normalize the images (CT), `accuracy.py` trains by both plans: the rows `SEEN`.
"""

import argparse
from dataclasses import fields
from pathlib import Path

import yaml

from scripts.benchmarks.accuracy_figures import RESULTS, write_table
from scripts.benchmarks.accuracy_ours import Folders, plan_of, plan_of_training
from scripts.benchmarks.accuracy_rows import ALL_FOLDS, DATASETS
from scripts.benchmarks.common import keep_origin
from segfw.core.plan import Configuration, Plan
from segfw.core.support.conversion import from_plain

TABLE = RESULTS / "seen_cases.csv"


def compared(name: str, fold: int, folders: Folders) -> dict[str, object]:
    """Return the line of a dataset and fold: what differs between the plan of all cases and of the training cases."""
    whole = plan_of(name, folders)
    seen = from_plain(Plan, yaml.safe_load(plan_of_training(name, fold, folders).read_text(encoding="utf-8")))
    mine, theirs = (plan.configurations[DATASETS[name].configuration] for plan in (whole, seen))
    means = [
        abs(new.mean / old.mean - 1) for new, old in zip(seen.intensities, whole.intensities, strict=True) if old.mean
    ]
    return {
        **{"dataset": name, "fold": fold, "configuration": DATASETS[name].configuration},
        **{"differs": " ".join(differing(mine, theirs)), "mean_intensity_differs_by": round(max(means), 5)},
    }


def differing(one: Configuration, other: Configuration) -> list[str]:
    """Return the names of the values that two configurations do not share."""
    return [each.name for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)]


def main() -> None:
    """Compare the plans of every dataset and fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real datasets")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    options = parser.parse_args()
    folders = Folders(options.data.absolute(), options.work.absolute())
    names = [name for name in DATASETS if name != "ACDC_scribbles"]  # whose images are ACDC's
    lines = [compared(name, fold, folders) for name in names for fold in ALL_FOLDS]
    write_table(TABLE, lines)
    keep_origin(TABLE, "segfw", "numpy", "SimpleITK")
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
