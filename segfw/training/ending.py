"""Why a training has ended, and where one stands that goes on."""

from dataclasses import dataclass
from typing import Any

from pytorch_lightning import Trainer

from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.words import in_words
from segfw.training.run import EndKind, FoldRun

ENDED_KEY, SECONDS_KEY, MAX_EPOCHS_KEY = "ended", "training_seconds", "max_epochs"


@dataclass(frozen=True)
class Ended:
    """How a training came to its end: all epochs done, the budget of time used, or a callback that stopped it early."""

    kind: EndKind
    reason: str = ""


@dataclass(frozen=True)
class Standing:
    """What a checkpoint tells of its training: epochs done, seconds taken, its horizon, and how it ended if it has."""

    epochs: int
    seconds: float
    max_epochs: int | None
    ended: Ended | None

    def limit(self, run: FoldRun) -> int:
        """Return Lightning's `max_epochs` for going on: the epochs done where nothing is left, -1 for no limit."""
        if self.ended is not None and self.ended.kind == "early":
            return self.epochs
        if run.time_budget is not None:
            return self.epochs if self.seconds >= run.time_budget else -1
        return max(run.trainer.max_epochs, self.epochs)

    def done(self, run: FoldRun) -> str:
        """Say how much is done, in the unit of the horizon."""
        return str(self.epochs) if run.time_budget is None else in_words(self.seconds)

    def end(self, run: FoldRun) -> Ended:
        """Say how a training that stands here without going on has ended."""
        return self.ended or Ended("time" if run.time_budget is not None else "epochs")


def standing_of(checkpoint: dict[str, Any]) -> Standing:
    """Read where a training stands from the content of its checkpoint."""
    ended = checkpoint.get(ENDED_KEY)
    return Standing(
        epochs=int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]),
        seconds=float(checkpoint.get(SECONDS_KEY, 0.0)),
        max_epochs=checkpoint.get(MAX_EPOCHS_KEY),
        ended=None if ended is None else from_plain(Ended, ended, ENDED_KEY),
    )


def ending(trainer: Trainer, seconds: float, budget: float | None) -> dict[str, Any] | None:
    """Return, as a checkpoint keeps it, how a training ends that has been told to stop; None for one that goes on."""
    if not trainer.should_stop:
        return None
    if budget is not None and seconds >= budget:
        return dict(to_plain(Ended("time", f"trained for {in_words(seconds)}, as trainer.max_time allows")))
    return dict(to_plain(Ended("early", _early_reason(trainer))))


def _early_reason(trainer: Trainer) -> str:
    for callback in trainer.early_stopping_callbacks:
        message = getattr(callback, "stopping_reason_message", None)  # Lightning 2.6 has it
        if message:
            return str(message).replace(" Signaling Trainer to stop.", "").rstrip(".")
        if callback.wait_count >= callback.patience:
            return f"{callback.monitor} has not improved for {callback.wait_count} validations"
    return "a callback asked to stop"
