import pytest
import torch
from torch import nn

from segfw.core.planning.footprint import OPTIMIZER_SLOTS
from segfw.core.settings.training import OptimizerSettings
from segfw.training.optimizers import FUSED, OPTIMIZERS, build_optimizer


def trained(settings: OptimizerSettings, fused: bool = False) -> tuple[torch.optim.Optimizer, nn.Parameter]:
    """Make three steps with the gradients 1, 2, 3 on a weight of 1."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = build_optimizer(settings, [weight], fused)
    for gradient in (1.0, 2.0, 3.0):
        weight.grad = torch.full((1,), gradient)
        optimizer.step()
    return optimizer, weight


def test_the_published_one_is_sgd_with_nesterovs_momentum_over_everything() -> None:
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer(OptimizerSettings(), layer.parameters())
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0.99, True, 3e-5)
    assert len(group["params"]) == 2


def test_sgd_by_hand() -> None:
    # without momentum and decay each step takes 0.1 of the gradient: 1 - 0.1 - 0.2 - 0.3
    _, weight = trained(OptimizerSettings(lr=0.1, momentum=0.0, weight_decay=0.0))
    assert weight.item() == pytest.approx(0.4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_weight_and_keeps_what_memory_is_counted_for(name: str) -> None:
    settings = OptimizerSettings(name=name, lr=0.01, momentum=0.9)  # type: ignore[arg-type]
    optimizer, weight = trained(settings)
    assert isinstance(optimizer, OPTIMIZERS[name][0])
    assert weight.item() < 1
    held = [value for value in optimizer.state[weight].values() if torch.is_tensor(value) and value.ndim]
    assert len(held) == OPTIMIZER_SLOTS[name]


@pytest.mark.parametrize("name", FUSED)
def test_one_kernel_gives_the_same(name: str) -> None:
    settings = OptimizerSettings(name=name, lr=0.01, amsgrad=name == "adamw")  # type: ignore[arg-type]
    optimizer, weight = trained(settings, fused=True)
    assert optimizer.defaults["fused"] is True
    assert weight.item() == pytest.approx(trained(settings)[1].item(), rel=1e-6)


def test_others_have_no_such_kernel() -> None:
    optimizer, _ = trained(OptimizerSettings(name="radam", lr=0.01), fused=True)
    assert not optimizer.defaults.get("fused")


def test_amsgrad_divides_by_the_largest_moment() -> None:
    optimizer, weight = trained(OptimizerSettings(name="adamw", amsgrad=True))
    assert "max_exp_avg_sq" in optimizer.state[weight]
