"""Schedules against nnU-Net's polynomial, PyTorch's one-cycle and values derived by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.settings.training import ScheduleSettings
from segfw.nn.schedules import learning_rate_factor


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.01), (1, 0.0099909995), (500, 0.0053588673), (999, 1.99526e-05)])
def test_polynomial_is_nnunets(epoch: int, expected: float) -> None:
    assert 0.01 * learning_rate_factor(ScheduleSettings(), epoch / 1000) == pytest.approx(expected, rel=1e-5)


def test_cosine_and_constant() -> None:
    assert learning_rate_factor(ScheduleSettings(name="cosine"), 1 / 3) == pytest.approx(
        0.75
    )  # (1 + cos 60 degrees) / 2
    assert learning_rate_factor(ScheduleSettings(name="constant"), 0.99) == 1


@pytest.mark.parametrize("name", ["poly", "cosine", "constant"])
def test_warmup_rises_linearly_and_then_the_rest_is_stretched(name: str) -> None:
    settings, whole = ScheduleSettings(name=name, warmup=0.2), ScheduleSettings(name=name)
    assert learning_rate_factor(settings, 0) == 0
    assert learning_rate_factor(settings, 0.05) == pytest.approx(0.25)
    assert learning_rate_factor(settings, 0.2) == pytest.approx(1)
    assert learning_rate_factor(settings, 0.6) == pytest.approx(learning_rate_factor(whole, 0.5))


def test_one_cycle_is_pytorchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, pct_start=0.3, cycle_momentum=False
    )
    # PyTorch peaks at step 0.3 * 101 - 1 and ends at step 100; ours at shares 0.3 and 1
    settings = ScheduleSettings(name="one_cycle", warmup=0.3)
    for step in range(101):
        peak = 0.3 * 101 - 1
        progress = 0.3 * step / peak if step < peak else 0.3 + 0.7 * (step - peak) / (100 - peak)
        assert learning_rate_factor(settings, progress) == pytest.approx(reference.get_last_lr()[0], rel=1e-6, abs=1e-9)
        optimizer.step()
        if step < 100:
            reference.step()


@given(
    name=st.sampled_from(["poly", "cosine", "one_cycle", "constant"]),
    warmup=st.floats(0, 0.9),
    progress=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2).map(sorted),
)
def test_rises_in_the_warmup_and_never_after(name: str, warmup: float, progress: list[float]) -> None:
    settings = ScheduleSettings(name=name, warmup=warmup)  # type: ignore[arg-type]
    first, second = (learning_rate_factor(settings, p) for p in progress)
    assert 0 <= first <= 1 + 1e-12
    assert 0 <= second <= 1 + 1e-12
    if progress[1] < warmup:
        assert first <= second or math.isclose(first, second)
    if progress[0] >= warmup:
        assert first >= second or math.isclose(first, second)


def test_refuses_a_warmup_of_everything() -> None:
    with pytest.raises(UsageError, match=r"got 1\.0"):
        learning_rate_factor(ScheduleSettings(warmup=1.0), 0.5)
