"""How much time a training has taken, over all commands that went on with it; every device reads the same."""

import time

from pytorch_lightning import Trainer

STEPS_BETWEEN_READINGS = 10
"""Where several devices train: agreeing on the time makes them wait for one another."""


class Clock:
    """Seconds of training, on-line validation included; `seconds` is the latest reading."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start: float | None = None

    def start(self) -> None:
        """Go on from the seconds that are there."""
        self._start = time.monotonic() - self.seconds

    def read(self, trainer: Trainer, step: int = 0) -> float:
        """Return the seconds; on several devices the first one's, read anew in every tenth `step`."""
        if self._start is None or (trainer.world_size > 1 and step % STEPS_BETWEEN_READINGS):
            return self.seconds
        now = time.monotonic() - self._start
        self.seconds = float(trainer.strategy.broadcast(now)) if trainer.world_size > 1 else now
        return self.seconds
