"""What a command is going to cost, said before it starts."""

import logging
from collections.abc import Sequence

from segfw.core.cost import forward_flops
from segfw.training.devices import Device
from segfw.training.run import FoldRun
from segfw.training.throughput import measure_flops_per_second

log = logging.getLogger(__name__)

DAY = 86400.0
PASSES = 3
"""A training step costs about three forward passes: one forward, two backward."""


def announce_cost(runs: Sequence[FoldRun], device: Device) -> None:
    """Log the estimated training time; beyond a day name the recipe for small budgets."""
    seconds = estimate_seconds(runs, measure_flops_per_second(device))
    log.info(
        "train: %d run%s, estimated %s on this machine", len(runs), "s" if len(runs) > 1 else "", in_words(seconds)
    )
    if seconds > DAY:
        log.warning(
            "train: this is more than a day. `experiment=fast` is the recipe for small budgets (hundreds of iterations "
            "instead of hundreds of thousands); trainer.max_epochs=, configurations= and folds= shorten it as well"
        )


def estimate_seconds(runs: Sequence[FoldRun], flops_per_second: float) -> float:
    """Return the seconds that training takes at `flops_per_second`, from the networks' arithmetic alone."""
    total = 0.0
    for run in runs:
        forward = forward_flops(run.configuration, run.num_channels, run.plan.labels.num_heads)
        steps = PASSES * run.trainer.limit_train_batches + run.val_batches
        total += run.trainer.max_epochs * steps * forward
    return total / flops_per_second


def in_words(seconds: float) -> str:
    """Return a duration as people say it: '40 s', '12 min', '3.5 h', '9 days'."""
    for size, unit, digits in ((DAY, "days", 1), (3600.0, "h", 1), (60.0, "min", 0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
