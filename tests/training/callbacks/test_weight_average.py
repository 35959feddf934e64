import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from segfw.training.callbacks import fold_validation, weight_average
from segfw.training.callbacks.weight_average import RAW_KEY, kept_share
from segfw.training.checkpoints import load_checkpoint, network_weights
from segfw.training.fit import FoldResult
from segfw.training.run import FoldRun
from tests.training.test_resuming import settings

HALF_LIFE = 0.3


def test_half_is_left_after_the_half_life() -> None:
    assert kept_share(0.02, 0.02, 10**9) == pytest.approx(0.5)
    assert kept_share(0.001, 0.02, 10**9) ** 40 == pytest.approx(0.25)


def test_the_random_weights_are_soon_forgotten() -> None:
    assert [kept_share(1e-6, 0.02, n) for n in range(3)] == pytest.approx([1 / 10, 2 / 11, 3 / 12])


@given(passed=st.floats(0, 1), half_life=st.floats(1e-3, 1), updates=st.integers(0, 10**6))
def test_a_share_is_a_share_and_grows_with_the_half_life(passed: float, half_life: float, updates: int) -> None:
    assert 0 <= kept_share(passed, half_life, updates) < 1 or passed == 0
    assert kept_share(passed, half_life, updates) <= kept_share(passed, 2 * half_life, updates)


class Weights(Callback):
    """Note the network's first weight before the first step, after each, and when validation begins."""

    def __init__(self) -> None:
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trained.append(first(pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.trained.append(first(pl_module))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated.append(first(pl_module))


def first(module: LightningModule) -> Tensor:
    return next(module.parameters()).detach().clone()


def test_the_average_is_validated_kept_and_handed_on(
    make_run: Callable[..., FoldRun],
    fit: Callable[..., FoldResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[Tensor] = []
    validate = fold_validation.validate_fold

    def noted(run: FoldRun, network: torch.nn.Module, *rest: Any) -> Any:
        scored.append(next(network.parameters()).detach().clone())
        return validate(run, network, *rest)

    monkeypatch.setattr(fold_validation, "validate_fold", noted)
    weights = Weights()
    run = make_run(trainer=settings(max_epochs=2, ema_half_life=HALF_LIFE))
    plain = Weights()
    result = fit(run, tmp_path / "averaged", weights)
    fit(make_run(trainer=settings(max_epochs=2)), tmp_path / "plain", plain)
    assert all(torch.equal(one, two) for one, two in zip(weights.trained, plain.trained, strict=True))
    expected = weights.trained[0]  # as drawn
    for number, trained in enumerate(weights.trained[1:]):
        kept = min(0.5 ** (0.1 / HALF_LIFE), (1 + number) / (10 + number))  # ten steps in all
        expected = kept * expected + (1 - kept) * trained
    name = next(iter(network_weights(result.checkpoint)))
    content = load_checkpoint(result.checkpoint)
    assert torch.equal(content[RAW_KEY][f"network.{name}"], weights.trained[-1])
    average = network_weights(result.checkpoint)[name]
    assert torch.allclose(average, expected, atol=1e-6)
    assert not torch.allclose(average, weights.trained[-1], atol=1e-6)
    assert torch.equal(weights.validated[-1], average)
    assert torch.equal(scored[0], average)
    assert result.scores is not None


def test_each_step_of_the_optimizer_is_an_equal_share(
    make_run: Callable[..., FoldRun], fit: Callable[..., FoldResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[float] = []

    def noted(share: float, half_life: float, updates: int) -> float:
        passed.append(share)
        return kept_share(share, half_life, updates)

    monkeypatch.setattr(weight_average, "kept_share", noted)
    fit(make_run(trainer=settings(max_epochs=2, ema_half_life=HALF_LIFE, accumulate_grad_batches=2)), tmp_path)
    assert passed == pytest.approx([1 / 6] * 6)  # of five iterations each epoch: two steps of two, one of one


def test_a_finished_training_is_validated_with_the_average(
    make_run: Callable[..., FoldRun], fit: Callable[..., FoldResult], tmp_path: Path
) -> None:
    run = make_run(trainer=settings(max_epochs=2, ema_half_life=HALF_LIFE))
    first_time = fit(run, tmp_path)
    shutil.rmtree(tmp_path / "validation")
    assert fit(run, tmp_path).scores == first_time.scores
