"""What a rank does in the tests: `python -m tests.training.rank_program LAUNCHER FOLDER ACTION`."""

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.core.errors import SegfwError
from segfw.core.support.conversion import from_plain
from segfw.core.support.parents import leave_with_parent
from segfw.core.support.ranks import Ranks, launched_ranks
from segfw.training.fit import fit_fold
from segfw.training.launch import record_failure
from segfw.training.run import FoldRun
from tests.training.conftest import CPU, memory_io

RUN, GRADIENTS = "run.json", "gradients.pt"


class KeepGradients(Callback):
    """Keep the gradient of the first step, as the optimizer gets it but for the clipping."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / GRADIENTS

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero:
            torch.save(
                {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}, self.path
            )


class Happen(Callback):
    """Let something happen to rank 1 in the first step of the second epoch."""

    def __init__(self, action: str, ranks: Ranks, folder: Path) -> None:
        self.action, self.ranks, self.folder = action, ranks, folder

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0:
            return
        (self.folder / f"pid_{self.ranks.rank}").write_text(str(os.getpid()))
        if self.ranks.rank == 1:
            EVENTS[self.action](batch)


def kill(batch: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(batch: Any) -> None:
    raise ZeroDivisionError("nobody foresaw this")


def spoil(batch: Any) -> None:
    batch["image"].fill_(math.nan)


def stay(batch: Any) -> None:
    signal.pause()


EVENTS = {"kill": kill, "fail": fail, "spoil": spoil, "stay": stay}


@record_failure
def run_rank(folder: Path, action: str) -> None:
    ranks = launched_ranks()
    run = from_plain(FoldRun, json.loads((folder / RUN).read_text()))
    callbacks = [KeepGradients(folder)] if action == "train" else [Happen(action, ranks, folder)]
    fit_fold(run, folder, CPU, memory_io(), callbacks, ranks=ranks)
    assert not torch.distributed.is_initialized()


def main(launcher: str, folder: str, action: str) -> int:
    leave_with_parent(int(launcher))
    try:
        run_rank(Path(folder), action)
    except (SegfwError, ZeroDivisionError, RuntimeError):
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
