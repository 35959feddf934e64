import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.core.errors import JobError
from segfw.training.checkpoints import load_checkpoint
from segfw.training.ending import standing_of
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun
from segfw.training.step_watch import StepWatch, refuse_bad_weights
from tests.training.test_resuming import STEPS, settings

CPU = torch.device("cpu")


class Spoil(Callback):
    """Make a weight NaN before or after a step."""

    def __init__(self, epoch: int, step: int, before: bool) -> None:
        self.at, self.before = (epoch, step), before

    def _spoil(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        if (trainer.current_epoch, step) == self.at:
            next(module.parameters()).data.fill_(math.nan)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.before:
            self._spoil(trainer, pl_module, batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.before:
            self._spoil(trainer, pl_module, batch_idx)


@pytest.mark.parametrize(("before", "step", "message"), [(True, 3, "loss is not"), (False, 2, "weights are not")])
def test_the_last_good_checkpoint_is_kept(
    make_run: Callable[..., FoldRun],
    fit: Callable[..., FoldResult],
    tmp_path: Path,
    before: bool,
    step: int,
    message: str,
) -> None:
    with pytest.raises(JobError, match=f"{message}.*The checkpoint from before is kept"):
        fit(make_run(trainer=settings()), tmp_path, Spoil(1, step, before))
    content = load_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert all(bool(value.isfinite().all()) for value in content["state_dict"].values())
    assert standing_of(content).epochs == 1
    assert content["global_step"] == STEPS + (3 if before else 2)


def test_a_bad_loss_names_its_step_its_cases_and_what_to_try() -> None:
    watch = StepWatch(CPU)
    for step, loss in enumerate((1.0, math.inf, math.nan)):
        watch.add(torch.tensor(loss), [f"case{step}", "other", "other"], step)
    with pytest.raises(JobError) as caught:
        watch.refuse_bad(4, 0.01)
    message = str(caught.value)
    assert "epoch 4, step 1; its batch came from the cases ['case1', 'other']" in message
    assert "optimizer.lr (it is 0.01)" in message
    assert "trainer.precision=bf16-mixed" in message


def test_good_losses_pass() -> None:
    watch = StepWatch(CPU)
    assert watch.add(torch.tensor(2.0), ["a"], 0) == (torch.tensor(2.0), 1)
    watch.refuse_bad(0, 0.01)
    assert watch.so_far() == (1, 2.0)


def test_the_first_step_after_an_interruption_stands_for_those_before() -> None:
    watch = StepWatch(CPU, carried=(3, 6.0))
    value, steps = watch.add(torch.tensor(4.0), ["a"], 3)
    assert (value.item(), steps) == (pytest.approx(2.5), 4)  # (6 + 4) / 4
    assert watch.add(torch.tensor(1.0), ["a"], 4)[1] == 1
    assert watch.so_far() == (5, 11.0)


def test_weights_that_are_no_numbers_are_named() -> None:
    good = {"a": torch.ones(2), "count": torch.tensor(3)}
    refuse_bad_weights(good)
    refuse_bad_weights({})
    with pytest.raises(JobError, match=r"weights are not finite \(b\)"):
        refuse_bad_weights({**good, "b": torch.tensor([1.0, math.inf])})
