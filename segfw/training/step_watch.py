"""What the steps of an epoch have shown so far, noted on the device without waiting for it."""

from typing import Any

import torch
from torch import Tensor

from segfw.core.errors import JobError
from segfw.training.ranks import gather_from_ranks, smallest_over_ranks

NO_STEP = 2**31 - 1


class StepWatch:
    """The sum of an epoch's losses, and the first step whose loss was not finite with the cases of its batch.

    `carried` is what an interrupted epoch had before: the steps done, and the sum of their losses.
    """

    def __init__(self, device: torch.device, carried: tuple[int, float] = (0, 0.0)) -> None:
        self.steps = carried[0]
        self._carried: tuple[int, float] | None = carried if carried[0] else None
        kind = torch.float32 if device.type == "mps" else torch.float64
        self._sum = torch.full((), carried[1], device=device, dtype=kind)
        self._first_bad = torch.full((), NO_STEP, device=device)
        self._cases: dict[int, list[str]] = {}

    def add(self, loss: Tensor, cases: list[str], step: int) -> tuple[Tensor, int]:
        """Note one step; return the value to average over the epoch, and for how many steps it stands."""
        self._cases[step] = cases
        bad = ~torch.isfinite(loss) & (self._first_bad == NO_STEP)
        self._first_bad = torch.where(bad, step, self._first_bad)
        self._sum += loss
        self.steps += 1
        if self._carried is None:
            return loss, 1
        count, total = self._carried
        self._carried = None
        return (loss + total) / (count + 1), count + 1

    def so_far(self) -> tuple[int, float]:
        """Return the steps done and the sum of their losses; waits for the device."""
        return self.steps, float(self._sum)

    def refuse_bad(self, epoch: int, lr: float) -> None:
        """Raise `JobError` if a loss was not finite, with what can be done; waits for device and ranks."""
        step = int(smallest_over_ranks(self._first_bad))
        if step < NO_STEP:
            cases = sorted({case for part in gather_from_ranks(self._cases[step]) for case in part})
            raise JobError(
                f"the loss is not finite in epoch {epoch}, step {step}; "
                f"its batch came from the cases {cases}. Look at their intensities (`verify` "
                f"does); where they are sound, train under another name= with a lower optimizer.lr (it is {lr:g}), a "
                "schedule.warmup (0.02), or trainer.precision=bf16-mixed or 32-true instead of 16-mixed; "
                "trainer.detect_anomaly=true names the operation. The checkpoint from before is kept"
            )


def refuse_bad_weights(state: dict[str, Any]) -> None:
    """Raise `JobError` if a tensor of `state` holds what is no finite number: such weights are never saved."""
    floats = {name: value for name, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()}
    if not floats:
        return
    finite = torch.stack([value.isfinite().all() for value in floats.values()])
    if not bool(finite.all()):
        name = next(name for name, value in floats.items() if not bool(value.isfinite().all()))
        raise JobError(
            f"the weights are not finite ({name}), after a step whose loss still was. Train under another name= with a "
            "lower optimizer.lr or trainer.gradient_clip_val, or another trainer.precision. The checkpoint from "
            "before is kept"
        )
