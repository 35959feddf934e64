"""Whose initial weights, whose batches: what the first losses of the published recipe come from.

python -m scripts.benchmarks.exchange --work WORK --peer-python PYTHON

WORK is that of `accuracy.py`, which must have trained `hippocampus_segfw_published` and `hippocampus_nnunet_published`.
segfw's network, loss and optimizer train for two epochs in float32, from either program's initial weights on either
program's first batches, in the order in which each would have seen them; nnU-Net's trainer does so with its own.
results/exchange.csv has a line for each of the five: mean loss of both epochs.
"""

import argparse
import csv
import json
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from scripts.benchmarks.accuracy_attribution import exchanged
from scripts.benchmarks.accuracy_figures import RESULTS
from scripts.benchmarks.common import Peer, child, keep_origin
from segfw.core.support.conversion import from_plain
from segfw.data.augmentation import augment, encode_target
from segfw.nn.schedules import learning_rate_factor
from segfw.training.datamodule import SegmentationDataModule
from segfw.training.devices import choose_device
from segfw.training.module import SegmentationModule, build_module
from segfw.training.run import FoldRun

TABLE = RESULTS / "exchange.csv"
EPOCHS, ITERATIONS = 2, 30
HERE = Path(__file__).parent
OURS, THEIRS = "hippocampus_segfw_published_s0", "hippocampus_nnunet_published_s0"
Batches = list[tuple[Tensor, Tensor]]


def our_batches(run: FoldRun, module: SegmentationModule) -> Batches:
    """Return the batches that segfw's training of `run` begins with, augmented: images and label maps."""
    loader = SegmentationDataModule.of_run(run, choose_device("cpu")).train_dataloader()
    batches: Batches = []
    while len(batches) < EPOCHS * ITERATIONS:
        for each in loader:  # an epoch; the next one follows by itself
            numbers = each["indices"].tolist()
            batches.append(augment(module.augmentation, each["image"], each["label"], run.seed, each["epoch"], numbers))
    return batches


def their_batches(path: Path) -> Batches:
    """Return what exchange_peer.py has written."""
    with np.load(path) as file:
        images, labels = file["image"], file["label"].astype(np.int64)
    return [(torch.from_numpy(image), torch.from_numpy(label)) for image, label in zip(images, labels, strict=True)]


def mean_losses(module: SegmentationModule, weights: dict[str, Tensor], batches: Batches) -> list[float]:
    """Train from `weights` on `batches`; return the mean loss of each epoch."""
    run = module.run
    module.network.load_state_dict(weights)
    module.network.train()
    optimizer, losses = module.configure_optimizers(), list[float]()
    for number, (image, label) in enumerate(batches):
        for group in optimizer.param_groups:
            progress = number // ITERATIONS / run.trainer.max_epochs
            group["lr"] = run.optimizer.lr * learning_rate_factor(run.schedule, progress)
        loss = module.loss(module.network(image), encode_target(label, run.plan.labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.network.parameters(), run.trainer.gradient_clip_val)
        optimizer.step()
        losses.append(loss.item())
    return by_epoch(losses)


def by_epoch(losses: Sequence[float]) -> list[float]:
    """Return the mean of each epoch."""
    return [float(np.mean(losses[i : i + ITERATIONS])) for i in range(0, len(losses), ITERATIONS)]


def main() -> None:
    """Train for two epochs in each of the five ways, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the folder that accuracy.py was given")
    parser.add_argument("--peer-python", type=Path, required=True, help="an interpreter that has nnunetv2")
    options = parser.parse_args()
    os.environ.update(OMP_WAIT_POLICY="passive", OMP_NUM_THREADS="1", nnUNet_n_proc_DA="0")
    torch.set_num_threads(1)
    work = options.work.absolute()
    peer, folder = Peer(options.peer_python.absolute(), work / "nnunet"), work / "exchange"
    folder.mkdir(exist_ok=True)
    words = [str(work / "nnunet" / f"{THEIRS}_fold_0.json"), str(folder)]
    environment = {**peer.environment, "nnUNet_results": str(folder)}
    child([str(peer.python), str(HERE / "exchange_peer.py"), *words], environment, sampling=2.0)()
    (config,) = (work / "outputs" / "Hippocampus" / "runs" / OURS).glob("*/*/3d_fullres/fold_0/config.yaml")
    run = from_plain(FoldRun, yaml.safe_load(config.read_text(encoding="utf-8"))["run"])
    module = build_module(run, choose_device("cpu"))
    own = {name: value.clone() for name, value in module.network.state_dict().items()}
    foreign = torch.load(folder / "weights.pt", weights_only=True)
    weights = {"segfw": own, "nnunet": {name: foreign[name] for name in own}}
    batches = {"segfw": our_batches(run, module), "nnunet": their_batches(folder / "batches.npz")}
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["steps", "weights", "batches", "epoch_1", "epoch_2"])
        for one, other in product(weights, batches):
            losses = mean_losses(module, weights[one], batches[other])
            writer.writerow(["segfw", one, other, *(f"{loss:.4f}" for loss in losses)])
        theirs = by_epoch(json.loads((folder / "losses.json").read_text(encoding="utf-8")))
        writer.writerow(["nnunet", "nnunet", "nnunet", *(f"{loss:.4f}" for loss in theirs)])
    keep_origin(TABLE, "segfw", "torch", "pytorch-lightning")
    print(exchanged(TABLE))


if __name__ == "__main__":
    main()
