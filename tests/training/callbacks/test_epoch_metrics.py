from types import SimpleNamespace

import pytest
import torch

from segfw.training.callbacks.epoch_metrics import epoch_metrics


@pytest.mark.parametrize(("every", "epoch", "shown"), [(1, 0, 2), (3, 0, 1), (3, 1, 1), (3, 2, 2), (3, 5, 2)])
def test_metrics_of_an_earlier_validation_are_left_out(every: int, epoch: int, shown: int) -> None:
    metrics = {"train/loss": torch.tensor(1.0), "val/loss": torch.tensor(2.0)}
    trainer = SimpleNamespace(callback_metrics=metrics, current_epoch=epoch, check_val_every_n_epoch=every)
    assert list(epoch_metrics(trainer)) == ["train/loss", "val/loss"][:shown]  # type: ignore[arg-type]
