"""What matters in a short training: one factor changed at a time, scored on whole validation cases of fold 0.

Every row of results/ablation.csv is one training: batch 2, a quarter of the planned features, the recipe `fast` with
the overrides of its variant. A row that is there is not made again, so that the table grows over days; another state of
the recipe takes another `--round`. The sets are ACDC, Nuclei and two synthetic ones; Hippocampus and Membranes are left
for confirmation and must not be added.
"""

import argparse
import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
import typing
from pathlib import Path

import yaml

from scripts.benchmarks.ablation_sets import LABELS, write_dataset
from scripts.benchmarks.common import child, commit_and_date, keep_origin, listed, versions

TOPOLOGY = ("kernel_sizes", "strides", "n_conv_per_stage", "n_conv_per_stage_decoder")
TABLE = Path(__file__).parent / "results" / "ablation.csv"
SETS: dict[str, tuple[str, tuple[str, ...]]] = {  # configuration, and what the task needs beside name and folder
    "Dataset027_ACDC": ("2d", ("split.kind=group", r"split.group_pattern=patient\d+")),
    "Dataset120_Nuclei": ("2d", ()),
    "Lesions": ("3d_fullres", ()),
    "Twins": ("3d_fullres", ()),
}
VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "lr_0.001": ("optimizer.lr=0.001",),
    "lr_0.01": ("optimizer.lr=0.01",),
    "mirror_auto": ("augmentation.mirror_axes=auto",),
    "averaged_0.02": ("trainer.ema_half_life=0.02",),
    "sample_dice": ("loss.batch_dice=false",),
    "foreground_0.67": ("sampling.foreground_fraction=0.67",),
    "component_loss": ("loss=dice_ce_blob", "loss.batch_dice=true", "loss.deep_supervision=false"),
    "deep_supervision": ("loss.deep_supervision=true",),
    "cosine": ("schedule=cosine", "schedule.interval=step", "schedule.warmup=0.05"),
    "constant": ("schedule=constant",),
    "published_augmentation": ("augmentation=default", "augmentation.mirror_axes=[]"),
    "sgd": ("optimizer=sgd",),
    "poly": ("schedule=poly", "schedule.interval=step"),
    "foreground_1": ("sampling.foreground_fraction=1.0",),
    "weight_decay_0.05": ("optimizer.weight_decay=0.05",),
    "mirror_all": ("augmentation.mirror_axes=null",),
    "no_augmentation": ("augmentation=none",),
    "growing_patches": (),
    "synthetic_weights": (),
}


@dataclasses.dataclass(frozen=True)
class FirstPart:
    """A training before the one that is scored, which begins with its weights; both parts' time is counted.

    Shares are of the iterations asked for. `shrink` divides the planned patch; `synthetic` trains on the synthetic set
    that the scored training does not use.
    """

    share: float
    share_after: float
    shrink: int = 1
    synthetic: bool = False


FIRST_PARTS = {  # half a patch costs an eighth (3D) or a quarter (2D) of a whole one: all cost about what `base` does
    "growing_patches": FirstPart(0.5, 0.9, shrink=2),
    "synthetic_weights": FirstPart(1 / 3, 2 / 3, synthetic=True),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One training: what, how long and how well. `dice`: mean over the labels, `dice_of_labels`: JSON."""

    round: str
    set: str
    variant: str
    overrides: str
    iterations: int
    seed: int
    dice: float
    dice_of_labels: str
    cpu_seconds: float
    commit: str
    date: str

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What tells this row from every other."""
        return self.round, self.set, self.variant, self.iterations, self.seed


def load_rows(table: Path) -> list[Row]:
    """Return the rows that are there; none without a file."""
    if not table.is_file():
        return []
    kinds = typing.get_type_hints(Row)
    with table.open(newline="", encoding="utf-8") as file:
        return [Row(**{name: kinds[name](value) for name, value in line.items()}) for line in csv.DictReader(file)]


def append(table: Path, row: Row) -> None:
    """Add a row at the end."""
    fresh = not table.is_file()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        if fresh:
            writer.writeheader()
        writer.writerow(dataclasses.asdict(row))


def task(name: str, data: Path, output: Path) -> list[str]:
    """Return the part of the command line that all trainings of a set share."""
    further = SETS[name][1]
    return [
        *(sys.executable, "-m", "segfw", f"task.name={name}", f"task.folder={name}", f"data_root={data}"),
        *(f"output_root={output}", "folds=0", *further),
    ]


def quarter(features: list[int]) -> list[int]:
    """Return a quarter of the features of each stage, at least 8."""
    return [max(8, count // 4) for count in features]


def shrunk(patch: list[int], strides: list[list[int]], shrink: int) -> list[int]:
    """Return the patch divided by `shrink`, rounded up to what the strides divide into two voxels or more."""
    divisors = [math.prod(along) for along in zip(*strides, strict=True)]
    small = [max(math.ceil(size / shrink / by), 2) * by for size, by in zip(patch, divisors, strict=True)]
    return [min(pair) for pair in zip(small, patch, strict=True)]


def prepare(options: argparse.Namespace, name: str) -> tuple[list[str], dict[str, typing.Any]]:
    """Return what all commands of a set begin with, and its planned configuration; make what is missing."""
    data = options.work / "data" if name in LABELS else options.data
    output = options.work / "outputs"
    if name in LABELS and not (data / name / "dataset.json").is_file():
        write_dataset(name, data / name)
    plan = output / name / "plans" / "default.yaml"
    command = task(name, data, output)
    if not plan.is_file():
        subprocess.run([*command, "stages=[fingerprint,plan,preprocess]"], check=True)
    return command, yaml.safe_load(plan.read_text(encoding="utf-8"))["configurations"][SETS[name][0]]


def fit(
    options: argparse.Namespace, name: str, run: str, iterations: int, overrides: list[str], configuration: str
) -> tuple[Path, float]:
    """Train fold 0 of a set with the recipe and these overrides; return its folder and the processor seconds."""
    usage = child(
        [
            *(*prepare(options, name)[0], f"configurations=[{configuration}]", "experiment=fast"),
            *("stages=[fingerprint,plan,preprocess,train]", f"name={run}", "plan.batch_size=2"),
            f"trainer.max_epochs={round(iterations / 30)}",
            *("trainer.limit_train_batches=30", "trainer.threads=1", "trainer.enable_progress_bar=false"),
            *("trainer.accelerator=cpu", "overwrite=true", *overrides),
        ],
        sampling=2.0,  # only processor time is wanted, and looking takes some
    )()
    (folder,) = (options.work / "outputs" / name / "runs" / run / "default").glob(f"*/{configuration}/fold_0")
    return folder, usage.cpu


def train(options: argparse.Namespace, name: str, variant: str, seed: int) -> Row:
    """Train one variant on one set and return its row."""
    configuration, planned = SETS[name][0], prepare(options, name)[1]
    iterations, seconds = options.iterations, 0.0
    run = f"{options.round}_{variant}_{iterations // 30}_{seed}"
    shared = [f"seed={seed}", listed("plan.features_per_stage", quarter(planned["features_per_stage"]))]
    overrides = [*shared, *VARIANTS[variant]]
    first = FIRST_PARTS.get(variant)
    if first is not None:
        where, shrink, before = name, first.shrink, shared
        if first.synthetic:  # whose slices are a fifth as wide as the real ones
            where, shrink = "Lesions" if name == "Twins" else "Twins", 4 if configuration == "2d" else 1
            before = [*shared, *(listed(f"plan.{key}", planned[key]) for key in TOPOLOGY)]
        patch = shrunk(planned["patch_size"], planned["strides"], shrink)
        before = [*before, listed("plan.patch_size", patch)]
        folder, seconds = fit(options, where, f"{run}_{name}", int(iterations * first.share), before, configuration)
        overrides += [f"pretrained.path={folder / 'checkpoints' / 'last.ckpt'}", "pretrained.on_mismatch=adapt"]
        iterations = int(iterations * first.share_after)
    folder, after = fit(options, name, run, iterations, overrides, configuration)
    mean = json.loads((folder / "validation" / "metrics.json").read_text(encoding="utf-8"))
    labels = {label: round(values["dice"], 5) for label, values in mean["mean"].items()}
    commit, today = commit_and_date()
    return Row(
        *(options.round, name, variant, " ".join(VARIANTS[variant]), options.iterations // 30 * 30, seed),
        *(round(mean["foreground_mean"]["dice"], 5), json.dumps(labels), round(seconds + after), commit, today),
    )


def main() -> None:
    """Make the rows that are missing, in the order given, and print each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with Dataset027_ACDC and Dataset120_Nuclei")
    parser.add_argument("--work", type=Path, required=True, help="folder for synthetic sets and outputs")
    parser.add_argument("--round", required=True, help="name of the state of the recipe `fast` that is varied")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--iterations", type=int, default=600, help="a multiple of 30")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    print(versions("segfw", "torch"), flush=True)
    done = {row.key for row in load_rows(TABLE)}
    for seed in options.seeds:
        for variant in options.variants:
            for name in options.sets:
                if (options.round, name, variant, options.iterations // 30 * 30, seed) in done:
                    continue
                row = train(options, name, variant, seed)
                append(TABLE, row)
                print(f"{name} {variant} seed {seed}: Dice {row.dice:.4f}, {row.cpu_seconds:.0f} s", flush=True)

    keep_origin(TABLE, "segfw", "torch")


if __name__ == "__main__":
    main()
