"""How the learning rate moves over a training, as pure functions of its progress.

Progress is the share of the training that is done, so the same function serves epochs and steps, and a longer training
stretches the curve.
"""

import math

from segfw.core.errors import UsageError
from segfw.core.settings.training import ScheduleSettings

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def learning_rate_factor(settings: ScheduleSettings, progress: float) -> float:
    """Return what the learning rate is multiplied with at `progress`: 0 at the start, below 1 in the last epoch or
    step.

    ```
    poly, cosine, constant          one_cycle
    1   .--.                        1      .-.
       /    '-.                          .'   '.
      /        '-.                 1/25 .       '.
    0 ------------'                   0 -----------'-
      warmup                            warmup
    ```
    """
    if not 0 <= settings.warmup < 1:
        raise UsageError(f"schedule.warmup must be at least 0 and below 1, got {settings.warmup}")
    rising = progress < settings.warmup
    share = progress / settings.warmup if rising else (progress - settings.warmup) / (1 - settings.warmup)
    if settings.name == "one_cycle":
        return _cosine(ONE_CYCLE_START, 1.0, share) if rising else _cosine(1.0, ONE_CYCLE_END, share)
    if rising:
        return share
    if settings.name == "poly":
        return float((1 - share) ** settings.exponent)
    return _cosine(1.0, 0.0, share) if settings.name == "cosine" else 1.0


def _cosine(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along half a cosine wave."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
