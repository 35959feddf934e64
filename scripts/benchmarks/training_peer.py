"""nnU-Net's side of the training benchmark; runs in its environment, which has no segfw.

training_peer.py DEVICE      answers each line of standard input, an order in JSON, with one line: {"wall": s, "cpu": s}

Orders: {"do": "input" | "step" | "iterations", "plans": file, "dataset": file, "configuration": name, "count": n,
"warmup": n}. Figures are seconds per batch. Input is measured in one thread of one process, its own single-threaded
loader; whole iterations with the workers that it chooses by itself. Everything but the answers goes to standard error.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

WORKERS = "nnUNet_n_proc_DA"


def build(order: dict[str, Any], device: str) -> nnUNetTrainer:
    """Return its default trainer on all cases, ready for a first epoch."""
    plans = {**json.loads(Path(order["plans"]).read_text()), "continue_training": False}
    dataset = json.loads(Path(order["dataset"]).read_text())
    trainer = nnUNetTrainer(plans, order["configuration"], "all", dataset, torch.device(device))
    trainer.initialize()
    trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
    return trainer


def measure(action: Callable[[], object], order: dict[str, Any], device: str) -> dict[str, float]:
    """Return the seconds per call of `action`, after a warm-up."""
    for _ in range(order["warmup"]):
        action()
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(order["count"]):
        action()
    wait(device)
    return {
        "wall": (time.perf_counter() - wall) / order["count"],
        "cpu": (time.process_time() - cpu) / order["count"],
    }


def wait(device: str) -> None:
    """Let the device finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def single_threaded(trainer: nnUNetTrainer) -> Any:
    """Return its training loader, which works in this process."""
    os.environ[WORKERS] = "0"
    return trainer.get_dataloaders()[0]


def input_(order: dict[str, Any], device: str) -> dict[str, float]:
    """Read and augment batches."""
    trainer, threads = build(order, device), torch.get_num_threads()
    torch.set_num_threads(1)
    loader = single_threaded(trainer)
    try:
        return measure(lambda: next(loader), order, device)
    finally:
        torch.set_num_threads(threads)


def step(order: dict[str, Any], device: str) -> dict[str, float]:
    """Train on one and the same batch."""
    trainer = build(order, device)
    batch = next(single_threaded(trainer))
    trainer.on_train_epoch_start()
    return measure(lambda: trainer.train_step(batch), order, device)


def iterations(order: dict[str, Any], device: str) -> dict[str, float]:
    """Train as it does by default: its loader's workers, its step."""
    trainer = build(order, device)
    os.environ.pop(WORKERS, None)
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.on_train_epoch_start()
    try:
        return measure(lambda: trainer.train_step(next(trainer.dataloader_train)), order, device)
    finally:
        for loader in (trainer.dataloader_train, trainer.dataloader_val):
            getattr(loader, "_finish", lambda: None)()


ORDERS = {"input": input_, "step": step, "iterations": iterations}


def main() -> None:
    """Answer orders until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(ORDERS[order["do"]](order, sys.argv[1])), file=answers, flush=True)


if __name__ == "__main__":
    main()
