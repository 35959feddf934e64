from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from segfw.core.errors import UsageError
from segfw.core.settings.training import LossSettings, ScheduleSettings
from segfw.core.support.conversion import from_plain, to_plain
from segfw.training.devices import Device
from segfw.training.module import SegmentationModule, build_module
from segfw.training.run import FoldRun

MakeRun = Callable[..., FoldRun]
CPU = Device("cpu", "CPU", "32-true", 1, "CPU, 1 thread")


def rate_at(module: SegmentationModule, epoch: int, step: int = 0) -> float:
    """Let the module set the learning rate of an epoch and step."""
    optimizer = module.configure_optimizers()
    module._trainer = SimpleNamespace(optimizers=[optimizer], current_epoch=epoch)  # type: ignore[assignment]
    module.on_train_epoch_start()
    module.on_train_batch_start({}, step)
    rate: float = optimizer.param_groups[0]["lr"]
    return rate


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.01), (1, 0.0099909995), (500, 0.0053588673), (999, 1.99526e-05)])
def test_learning_rate_of_the_published_schedule(make_run: MakeRun, epoch: int, rate: float) -> None:
    assert rate_at(build_module(make_run(max_epochs=1000), CPU), epoch) == pytest.approx(rate, rel=2e-6)


def test_learning_rate_per_step(make_run: MakeRun) -> None:
    run = make_run(max_epochs=4, schedule=ScheduleSettings(interval="step"))
    assert rate_at(build_module(run, CPU), epoch=2, step=1) == pytest.approx(0.01 * (1 - 5 / 8) ** 0.9)


def test_learning_rate_follows_the_optimizers_steps(make_run: MakeRun) -> None:
    trainer = replace(make_run().trainer, max_epochs=4, limit_train_batches=5, accumulate_grad_batches=2)
    module = build_module(make_run(trainer=trainer, schedule=ScheduleSettings(interval="step")), CPU)
    rates = [rate_at(module, epoch=2, step=step) for step in range(5)]  # three steps an epoch, the last of one batch
    assert rates == pytest.approx([0.01 * (1 - step / 12) ** 0.9 for step in (6, 6, 7, 7, 8)])


def test_the_warmup_rises_with_every_step_even_within_a_single_epoch(make_run: MakeRun) -> None:
    """Half of eight steps: the first epoch of four would have rate 0 throughout, and the only one of a training."""
    trainer = replace(make_run().trainer, max_epochs=2, limit_train_batches=4)
    warm = ScheduleSettings("poly", exponent=1.0, warmup=0.5)
    module = build_module(make_run(trainer=trainer, schedule=warm), CPU)
    assert [rate_at(module, 0, step) for step in range(4)] == pytest.approx([0, 0.0025, 0.005, 0.0075])
    assert [rate_at(module, 1, step) for step in range(4)] == pytest.approx([0.01] * 4)  # by epochs again
    module = build_module(make_run(trainer=replace(trainer, max_epochs=1), schedule=warm), CPU)
    assert [rate_at(module, 0, step) for step in range(4)] == pytest.approx([0, 0.005, 0.01, 0.005])


def test_learning_rate_over_time(make_run: MakeRun) -> None:
    trainer = replace(make_run().trainer, max_time="00:00:01:40")
    module = build_module(make_run(trainer=trainer, schedule=ScheduleSettings("cosine", horizon="time")), CPU)
    module.clock.seconds = 25.0
    assert rate_at(module, epoch=7) == pytest.approx(0.01 * (1 + 2**-0.5) / 2)  # a quarter of 100 s
    module.clock.seconds = 110.0
    assert rate_at(module, epoch=8) == 0


def test_the_optimizer_is_fused_where_no_scaler_stands_before_it(make_run: MakeRun) -> None:
    for precision, fused in (("32-true", True), ("bf16-mixed", True), ("16-mixed", None)):
        module = build_module(make_run(), replace(CPU, precision=precision))
        assert module.configure_optimizers().defaults["fused"] == fused


def test_weights_of_classes_must_fit_the_plans_labels(make_run: MakeRun) -> None:
    weighted = make_run(loss=LossSettings(class_weights={"shell": 3}))
    assert build_module(weighted, CPU).loss.loss.class_weights.tolist() == [1, 1, 3]
    assert from_plain(FoldRun, to_plain(weighted)) == weighted
    with pytest.raises(UsageError, match=r"needs 3 weights.*got \[1.0, 2.0\]"):
        make_run(loss=LossSettings(class_weights=(1, 2)))


def test_same_seed_same_weights(make_run: MakeRun) -> None:
    one, two, other = (build_module(make_run(seed=seed), CPU).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("supervised", [True, False])
def test_validation_scores_every_resolution_without_touching_the_mode(make_run: MakeRun, supervised: bool) -> None:
    module = build_module(make_run(loss=LossSettings(deep_supervision=supervised)), CPU).eval()
    outputs = module._all_outputs(torch.zeros(2, 1, 8, 8, 8))
    assert isinstance(outputs, list) == supervised
    assert not any(part.training for part in module.modules())


def test_a_run_survives_being_written_down(make_run: MakeRun) -> None:
    run = make_run()
    assert from_plain(FoldRun, to_plain(run)) == run


def test_runs_that_contradict_themselves_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match=r"1 cases in training and validation: \['a'\]"):
        make_run(val_cases=("a",))
    with pytest.raises(UsageError, match="has no training case"):
        make_run(train_cases=())
    with pytest.raises(UsageError, match="fold 'full' has no validation cases, got 1"):
        make_run(fold="full")
    with pytest.raises(UsageError, match="max_epochs must be at least 1, got 0"):
        make_run(max_epochs=0)
    with pytest.raises(UsageError, match="no configuration '2d'"):
        replace(make_run(), configuration_name="2d")
