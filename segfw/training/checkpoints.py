"""Checkpoints that are whole or absent, hold plain values only, and keep `best` right over interruptions.

nnU-Net writes its latest checkpoint before the best score of that epoch is updated, so that after resuming a worse
epoch can replace the best one. Here the score is updated, `best` is written, then `last`, which carries the score.
`last` has an older generation, `previous`, which serves when `last` cannot be read.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from segfw.core.errors import ArtefactError, TimeIsOver
from segfw.core.support.files import atomic_path, remove_remains, temporary_beside
from segfw.nn.torch_file import check_tensors, read_torch_file
from segfw.training.clock import STEPS_BETWEEN_READINGS
from segfw.training.leaving import Leaving
from segfw.training.run import BEST, LAST, PREVIOUS
from segfw.training.seals import is_sealed, is_whole, seal

log = logging.getLogger(__name__)

REMEDY = "remove it to begin again, or put a copy in its place"
MONITOR = "val/patch_dice_ema"
PARTS = {
    "state_dict": dict,
    "optimizer_states": list,
    "callbacks": dict,
    "loops": dict,
    "epoch": int,
    "global_step": int,
}
"""What Lightning writes of a training and takes up again."""


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Return the content of a checkpoint; nothing but tensors and plain containers is ever unpickled.

    Raises `ArtefactError` when the file is missing, or its bytes are not those that were written.
    """
    if not path.is_file():
        raise ArtefactError(f"there is no checkpoint {path}")
    sealed = is_sealed(path)
    if sealed and not is_whole(path):
        raise _unreadable(path, "its content has another checksum")
    try:
        content = read_torch_file(path, map_location, verify=not sealed)
    except ArtefactError as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(content, dict):
        raise _unreadable(path, f"it holds a {type(content).__name__}")
    return content


def network_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the network's tensors of a checkpoint, on the CPU, under the network's own parameter names.

    Where weights are averaged, these are the averages. Raises `ArtefactError` for a checkpoint of another program.
    """
    state = load_checkpoint(path).get("state_dict")
    if not isinstance(state, dict):
        raise ArtefactError(f"{path} is no checkpoint of Lightning: it holds no state_dict")
    check_tensors(state, f"{path}: state_dict")
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}


def can_go_on(folder: Path) -> bool:
    """Whether a folder of checkpoints holds one, of either generation, to go on from.

    In this order: another rank may be giving `previous` the name of `last` just now.
    """
    return (folder / PREVIOUS).exists() or (folder / LAST).exists()


def checkpoint_to_go_on_from(folder: Path, leads: bool = True) -> dict[str, Any] | None:
    """Return the content of `last`, None where nothing was saved yet.

    Where `last` is damaged or missing, `previous` takes its place, with a warning. Raises `ArtefactError` when
    neither can be read. A rank that does not lead changes nothing: rank 0 does, meanwhile or before.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not leads:
        return _read_beside_rank_0(last, previous)
    for path in (last, previous):
        remove_remains(path)
    if not can_go_on(folder):
        return None
    try:
        return _load_training(last)
    except ArtefactError as error:
        if not previous.exists():
            raise
        try:
            content = _load_training(previous)
        except ArtefactError:
            raise ArtefactError(
                f"{_why(error)}, nor can the one before it, {previous}; remove both to begin again, or put a copy of "
                "one in its place"
            ) from error
        log.warning("%s; training goes on from the one before it, %s", _why(error), previous.name)
        previous.replace(last)
        return content


def _read_beside_rank_0(last: Path, previous: Path) -> dict[str, Any] | None:
    if not can_go_on(last.parent):
        return None
    for path in (last, previous):  # which rank 0 may be giving the name of `last` just now
        with contextlib.suppress(ArtefactError):
            return _load_training(path)
    return _load_training(last)


def _load_training(path: Path) -> dict[str, Any]:
    """Load a checkpoint that holds all of a training."""
    content = load_checkpoint(path)
    for name, kind in PARTS.items():
        if not isinstance(content.get(name), kind):
            raise _unreadable(path, f"it is not of a training: its {name} is a {type(content.get(name)).__name__}")
    try:
        check_tensors(content["state_dict"], "state_dict")
    except ArtefactError as error:
        raise _unreadable(path, str(error)) from error
    return content


def _why(error: ArtefactError) -> str:
    """Return what is wrong, without what can be done about it."""
    return str(error).removesuffix(f"; {REMEDY}")


def _unreadable(path: Path, why: str) -> ArtefactError:
    return ArtefactError(f"the checkpoint {path} cannot be read: {why}; {REMEDY}")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoint files, made atomic and strict."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write at once or not at all; the `last` that is replaced is kept as `previous`."""
        path = Path(path)
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)
            seal(temporary)
            if path.name == LAST and path.exists():
                _keep(path, path.with_name(PREVIOUS))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read tensors and plain containers only."""
        return load_checkpoint(Path(path), map_location)


def _keep(path: Path, older: Path) -> None:
    """Give the file at `path` the name `older` as well; where there are no hard links, instead."""
    spare = temporary_beside(older)
    try:
        os.link(path, spare)
    except OSError:
        path.replace(older)
        return
    spare.replace(older)
    spare.unlink(missing_ok=True)  # renaming leaves both where both are one file, as after a kill right here


class Checkpoints(Checkpoint):
    """Save `last` every epoch and every few minutes, `best` at a new maximum of the patch Dice's moving average.

    `deadline`, in seconds of `time.monotonic`, ends the training between two steps, with all that is needed to go on;
    so does a signal that waits in `leaving`.
    """

    def __init__(
        self,
        folder: Path,
        check_ownership: Callable[[], None] = lambda: None,
        minutes: float = math.inf,
        deadline: float = math.inf,
        leaving: Leaving | None = None,
    ) -> None:
        self.folder, self.check_ownership = folder, check_ownership
        self.minutes, self.deadline = minutes, deadline
        self.leaving = leaving or Leaving()
        self.best_score: float | None = None
        self._saved = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the minutes."""
        self._saved = time.monotonic()
        self.leaving.begin()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals interrupt whatever follows at once: nothing of the training is lost by that."""
        self.leaving.end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let nothing wait for steps that will not be made."""
        self.leaving.forget()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save `last` where it is time, between two steps of the optimizer; the epoch's end has its own."""
        done = batch_idx + 1
        if done >= trainer.num_training_batches or done % trainer.accumulate_grad_batches or trainer.should_stop:
            return
        if trainer.world_size > 1 and trainer.global_step % STEPS_BETWEEN_READINGS:
            return
        now = time.monotonic()
        if _agreed(trainer, self.leaving.wanted or now > min(self.deadline, self._saved + 60 * self.minutes)):
            self._save_last(trainer)
            self._stop(trainer, f"in epoch {trainer.current_epoch + 1}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save `best` on a new maximum, then `last`, which carries the best score; both only while the run is ours."""
        self.check_ownership()
        score = float(trainer.callback_metrics.get(MONITOR, math.nan))
        if not math.isnan(score) and (self.best_score is None or score > self.best_score):
            self.best_score = score
            trainer.save_checkpoint(self.folder / BEST)
        self._save_last(trainer)
        if not (trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs):
            self._stop(trainer, f"after epoch {trainer.current_epoch + 1}")

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best score of the checkpoint."""
        self.best_score = state_dict["best_score"]

    def _save_last(self, trainer: Trainer) -> None:
        self.check_ownership()
        trainer.save_checkpoint(self.folder / LAST)
        self._saved = time.monotonic()

    def _stop(self, trainer: Trainer, where: str) -> None:
        """Leave if a signal asks for it or the time is over; all is saved."""
        if _agreed(trainer, self.leaving.wanted):
            self.leaving.leave(f" {where}")
        if _agreed(trainer, time.monotonic() > self.deadline):
            raise TimeIsOver(f"trainer.max_time is over, {where}; all is saved, the same command goes on from there")


def _agreed(trainer: Trainer, decision: bool) -> bool:
    """Return the first device's decision: clocks differ."""
    return bool(trainer.strategy.broadcast(decision)) if trainer.world_size > 1 else decision
