"""nnU-Net's side of the accuracy table: its own fingerprint, plan and preprocessing, our folds, its trainer.

What differs from its default is written into its plans file (batch, features, patch) or given to `accuracy_peer.py`
(epochs, recipe), which runs in its environment.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image

from scripts.benchmarks.accuracy_ours import Folders, Outcome, plan_of, trained
from scripts.benchmarks.accuracy_rows import DATASETS, Row
from scripts.benchmarks.common import Peer, child, lay_out
from segfw import load_dataset
from segfw.core.planning.cost import parameter_count

HERE = Path(__file__).parent
IDENTIFIERS = {"Hippocampus": 904, "ACDC": 27, "ACDC_scribbles": 28, "Nuclei": 120, "Membranes": 121, "Rare": 900}


def raw_name(name: str) -> str:
    """Return nnU-Net's name for the dataset called `name`."""
    return f"Dataset{IDENTIFIERS[name]:03d}_{name}"


def train_theirs(row: Row, seed: int, fold: int, folders: Folders, peer: Peer) -> Outcome:
    """Train and validate one fold; return what it left."""
    name = raw_name(row.dataset)
    order = peer.root / f"{row.name}_s{seed}_fold_{fold}.json"
    outcome = order.with_suffix(".outcome.json")
    plans = write_plans(row, folders, peer)
    order.write_text(
        json.dumps(
            {
                **{"plans": str(plans), "dataset": str(peer.preprocessed(name) / "dataset.json")},
                **{"configuration": row.trained, "fold": fold, "seed": seed, "recipe": row.recipe},
                **{"epochs": row.epochs, "iterations": row.iterations_per_epoch, "outcome": str(outcome)},
            }
        ),
        encoding="utf-8",
    )
    environment = {
        **peer.environment,
        **{"nnUNet_results": str(peer.root / "trained" / f"{row.name}_s{seed}")},
        **{"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1"},
    }
    usage = child([str(peer.python), str(HERE / "accuracy_peer.py"), str(order)], environment, sampling=2.0)()
    told = json.loads(outcome.read_text(encoding="utf-8"))
    channels, heads = len(plan_of(row.dataset, folders).channel_names), len(DATASETS[row.dataset].labels) + 1
    expected = parameter_count(trained(row, folders), channels, heads)
    if told["parameters"] != expected:
        raise RuntimeError(f"{row.name}: nnU-Net's network has {told['parameters']} parameters, segfw's {expected}")
    return Outcome(
        predictions=Path(told["predictions"]),
        command=f"nnUNetTrainer, recipe {row.recipe}, {row.trained}, fold {fold}, seed {seed}",
        precision="32-true",
        versions=told["versions"],
        seconds=round(told["seconds"]),
        processor_seconds=round(usage.cpu),
        curve=[(int(n), float(seconds), float(dice)) for n, seconds, dice in told["curve"]],
    )


def prepare_theirs(row: Row, folders: Folders, peer: Peer) -> None:
    """Let nnU-Net look at the dataset, plan and preprocess, once; give it our folds."""
    name, number = raw_name(row.dataset), str(IDENTIFIERS[row.dataset])
    done = peer.preprocessed(name) / f"prepared_{row.trained}"
    if done.is_file():
        return
    if not peer.raw(name).exists():
        lay_out_raw(row.dataset, folders, peer.raw(name))
    if not (peer.preprocessed(name) / "nnUNetPlans.json").is_file():
        ask(peer, "nnUNetv2_extract_fingerprint", "-d", number, "-np", "1")
        ask(peer, "nnUNetv2_plan_experiment", "-d", number)
    ask(peer, "nnUNetv2_preprocess", "-d", number, "-c", row.trained, "-np", "1")
    plan_of(row.dataset, folders)
    ours = folders.outputs(row.dataset) / "splits.json"
    folds = json.loads(ours.read_text(encoding="utf-8"))
    folds = [{"train": each["train"], "val": each["val"]} for each in folds]
    (peer.preprocessed(name) / "splits_final.json").write_text(json.dumps(folds), encoding="utf-8")
    done.touch()


def lay_out_raw(name: str, folders: Folders, raw: Path) -> None:
    """Link a dataset into nnU-Net's raw folder."""
    dataset = DATASETS[name]
    folder = folders.of(dataset)
    if not (folder / "dataset.json").is_file() or not any((folder / "imagesTr").glob("*_0000.*")):
        lay_out(load_dataset(folder), None, raw)
        return
    raw.mkdir(parents=True)
    if DATASETS[name].has_alpha:
        write_opaque(folder / "imagesTr", raw / "imagesTr")
    else:
        (raw / "imagesTr").symlink_to((folder / "imagesTr").absolute())
    (raw / "labelsTr").symlink_to((folder / dataset.label_folder).absolute())
    description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    if dataset.label_folder != "labelsTr":
        description["labels"]["ignore"] = max(description["labels"].values()) + 1
    (raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def write_opaque(images: Path, folder: Path) -> None:
    """Write images without their alpha channel, which nnU-Net takes for a fourth channel and stumbles over."""
    folder.mkdir()
    for path in sorted(images.iterdir()):
        Image.open(path).convert("RGB").save(folder / path.name)


def write_plans(row: Row, folders: Folders, peer: Peer) -> Path:
    """Write nnU-Net's plans with the row's batch, features and patch; return the file."""
    folder = peer.preprocessed(raw_name(row.dataset))
    plans: dict[str, Any] = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    configuration = plans["configurations"][row.trained]
    ours = trained(row, folders)
    configuration["batch_size"], configuration["patch_size"] = ours.batch_size, list(ours.patch_size)
    configuration["architecture"]["arch_kwargs"]["features_per_stage"] = list(ours.features_per_stage)
    if row.recipe == "fast":
        configuration["batch_dice"] = True
    path = peer.root / f"{row.name}_plans.json"
    path.write_text(json.dumps(plans), encoding="utf-8")
    return path


def ask(peer: Peer, name: str, *arguments: str) -> None:
    """Run one of nnU-Net's commands; `RuntimeError` with the end of what it said if it fails."""
    command = peer.command(name, *arguments)
    done = subprocess.run(command, env={**os.environ, **peer.environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
