"""segfw's side of the accuracy table: one training, as a user would start it."""

import csv
import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from scripts.benchmarks.accuracy_made import write_rare
from scripts.benchmarks.accuracy_rows import DATASETS, Dataset, Row
from scripts.benchmarks.common import child, listed, versions
from segfw import make_fingerprint, make_plan
from segfw.core.cases import dataset
from segfw.core.plan import Configuration, Plan
from segfw.core.planning.plan_yaml import plan_to_yaml
from segfw.core.support.conversion import from_plain

SLICES_PER_FOLD = 6


@dataclass(frozen=True)
class Outcome:
    """What a training left. `curve`: (iterations, seconds of training, mean patch Dice) after each epoch.

    `seconds`: of training and validating whole cases, by the clock; `processor_seconds`: of the whole process. Both are
    None of a training that was interrupted: what it had taken before is not known.
    """

    predictions: Path
    command: str
    precision: str
    versions: str
    seconds: int | None
    processor_seconds: int | None
    curve: list[tuple[int, float, float]]


@dataclass(frozen=True)
class Folders:
    """Where things lie: the real datasets, and what this benchmark makes."""

    data: Path
    work: Path

    def of(self, dataset: Dataset) -> Path:
        """Return the folder of raw files; a made dataset is made if it is missing."""
        folder = (self.work / "data" if dataset.made else self.data) / dataset.folder
        if dataset.made and not (folder / "dataset.json").is_file():
            write_rare(folder)
        return folder

    def outputs(self, name: str) -> Path:
        """Return segfw's folder of the dataset called `name`."""
        return self.work / "outputs" / name


def task_words(name: str, folders: Folders) -> list[str]:
    """Return the words that all commands on the dataset called `name` begin with."""
    dataset = DATASETS[name]
    folder = folders.of(dataset)
    words = [f"task.name={name}", f"task.folder={folder.name}", f"data_root={folder.parent}", *dataset.task]
    if dataset.label_folder != "labelsTr":
        words.append(f"task.label_folder={dataset.label_folder}")
    if dataset.contiguous:
        words.append(f"split.file={write_contiguous_folds(name, folders)}")
    return [*words, f"output_root={folders.work / 'outputs'}"]


def write_contiguous_folds(name: str, folders: Folders) -> Path:
    """Write folds of neighbouring slices, which are nearly alike: none has a neighbour in the other part but two."""
    path = folders.work / f"{name}_folds.json"
    labels = sorted((folders.of(DATASETS[name]) / "labelsTr").iterdir())
    cases = [file.name.split(".")[0] for file in labels]
    held = [cases[i : i + SLICES_PER_FOLD] for i in range(0, len(cases), SLICES_PER_FOLD)]
    folds = [{"train": [case for case in cases if case not in part], "val": part} for part in held]
    path.write_text(json.dumps(folds, indent=1), encoding="utf-8")
    return path


def trained(row: Row, folders: Folders) -> Configuration:
    """Return the configuration as the row trains it: its batch, a share of the planned features, at least 8."""
    dataset = DATASETS[row.dataset]
    whole = plan_of(row.dataset, folders).configurations[row.trained]
    return replace(
        whole,
        batch_size=row.batch,
        features_per_stage=tuple(max(8, count // dataset.share) for count in whole.features_per_stage),
        patch_size=dataset.patch or whole.patch_size,
    )


def plan_of(name: str, folders: Folders) -> Plan:
    """Return the plan of a dataset; make it where it is missing."""
    path = folders.outputs(name) / "plans" / "default.yaml"
    if not path.is_file():
        child([sys.executable, "-m", "segfw", *task_words(name, folders), "stages=[fingerprint,plan]"])()
    return from_plain(Plan, yaml.safe_load(path.read_text(encoding="utf-8")))


def plan_of_training(name: str, fold: int, folders: Folders) -> Path:
    """Return the plan that segfw makes of the training cases of a fold alone; make it where it is missing."""
    path = folders.work / "plans_of_training" / f"{name}_fold_{fold}.yaml"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        plan_of(name, folders)
        seen = training_cases(name, fold, folders)
        path.write_text(plan_to_yaml(make_plan(seen, make_fingerprint(seen, scratch=folders.work))), encoding="utf-8")
    return path


def training_cases(name: str, fold: int, folders: Folders) -> dataset.Dataset:
    """Return a dataset's training cases of a fold as a dataset of their own, that has no others."""
    about = yaml.safe_load((folders.outputs(name) / "dataset.yaml").read_text(encoding="utf-8"))
    whole = from_plain(dataset.Dataset, about["dataset"])
    names = json.loads((folders.outputs(name) / "splits.json").read_text(encoding="utf-8"))[fold]["train"]
    return replace(whole, cases=tuple(each for each in whole.cases if each.name in names), num_training=len(names))


def words_of(row: Row, seed: int, fold: int, folders: Folders) -> list[str]:
    """Return segfw's command line for one training."""
    recipe = ["experiment=fast"] if row.recipe == "fast" else ["experiment=published", "augmentation.mirror_axes=[]"]
    configuration = trained(row, folders)
    return [
        *(*task_words(row.dataset, folders), f"configurations=[{row.trained}]", *recipe, f"folds={fold}"),
        *(f"name={row.run or row.name}_s{seed}", f"seed={seed}", f"plan.batch_size={row.batch}"),
        listed("plan.features_per_stage", list(configuration.features_per_stage)),
        *([listed("plan.patch_size", list(configuration.patch_size))] if DATASETS[row.dataset].patch else []),
        *(f"trainer.max_epochs={row.epochs}", f"trainer.limit_train_batches={row.iterations_per_epoch}"),
        *("trainer.limit_val_batches=3", "trainer.threads=1", *row.words),
        *([f"planner.plan_file={plan_of_training(row.dataset, fold, folders)}"] if row.plan_of == "training" else []),
    ]


def train_ours(row: Row, seed: int, fold: int, folders: Folders) -> Outcome:
    """Train and validate one fold, or go on with it; return what it left."""
    words = words_of(row, seed, fold, folders)
    stages = "stages=[fingerprint,plan,preprocess,train]"
    further = ["trainer.enable_progress_bar=false", "executor.workers=0", stages]
    runs, run = folders.outputs(row.dataset) / "runs" / f"{row.run or row.name}_s{seed}", f"{row.trained}/fold_{fold}"
    interrupted = any(runs.glob(f"*/*/{run}/checkpoints/last.ckpt"))
    usage = child([sys.executable, "-m", "segfw", *words, *further], sampling=2.0)()
    (folder,) = runs.glob(f"*/*/{run}")
    done = yaml.safe_load((folder / "done.yaml").read_text(encoding="utf-8"))
    return Outcome(
        predictions=folder / "validation",
        command=told(words, folders),
        precision="bf16-mixed" if "bf16-mixed" in done["machine"] else "32-true",
        versions=", ".join(f"{name} {version}" for name, version in versions("torch", "pytorch-lightning").items()),
        seconds=None if interrupted else int(done["seconds"]),
        processor_seconds=None if interrupted else round(usage.cpu),
        curve=curve(folder / "metrics.csv", row.iterations_per_epoch),
    )


def curve(table: Path, iterations_per_epoch: int) -> list[tuple[int, float, float]]:
    """Return (iterations, seconds, patch Dice) after each epoch of a run's metrics.csv."""
    points, seconds = [], 0.0
    with table.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            seconds += float(line["time/epoch"])
            points.append(((int(line["epoch"]) + 1) * iterations_per_epoch, seconds, float(line["val/patch_dice"])))
    return points


def told(words: list[str], folders: Folders) -> str:
    """Return the command as it is published, with names for the two folders."""
    text = shlex.join(["python", "-m", "segfw", *words])
    return text.replace(str(folders.work), "WORK").replace(str(folders.data), "DATA")
