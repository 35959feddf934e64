"""Resampling with PyTorch's arithmetic is the CPU's; where a card has too little memory, it becomes the CPU's."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.imaging.resampling import resample_channel
from segfw.core.plan import Resampling
from segfw.inference import device_resampling
from segfw.inference.device_resampling import resample_channel_on, resampling_on

GOLDEN = Path(__file__).parents[1] / "golden" / "resampling"
CASES = json.loads((GOLDEN / "index.json").read_text())
CPU = torch.device("cpu")
SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_the_matrices_give_the_reference_on_any_device(case: dict) -> None:
    golden = np.load(GOLDEN / case["file"])
    grids = (tuple(case["new_shape"]), tuple(case["current_spacing"]), tuple(case["new_spacing"]))
    cubic = np.stack([resample_channel_on(CPU, channel, *grids, Resampling()) for channel in golden["data"]])
    np.testing.assert_allclose(cubic, golden["data_order3"], rtol=0, atol=1e-6 * np.ptp(golden["data"]))
    assert cubic.dtype == golden["data"].dtype


@given(SHAPES, SHAPES, st.sampled_from([0, 1, 3]), st.sampled_from([0, 1]), st.booleans(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_both_ways_agree(shape: tuple, new: tuple, order: int, order_z: int, coarse: bool, seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    spacing = (5.0, 1.0, 1.0) if coarse else (1.0, 1.0, 1.0)
    rule = spacing, (1.0, 1.0, 1.0), Resampling(order_image=order, order_z=order_z)
    expected = resample_channel(volume, new, *rule)
    np.testing.assert_allclose(resample_channel_on(CPU, volume, new, *rule), expected, atol=1e-5)


def test_without_memory_on_the_device_the_cpu_resamples(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device_resampling, "_change_grid", full)
    volume = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    rule = (6, 4, 7), (2.0, 1.0, 1.4), (1.0, 1.0, 1.0), Resampling()
    with caplog.at_level(logging.INFO):
        resampled = resample_channel_on(CPU, volume, *rule)
    np.testing.assert_array_equal(resampled, resample_channel(volume, *rule))
    assert "(3, 4, 5) does not fit into the memory of cpu" in caplog.text


def test_the_cpu_needs_no_tensors() -> None:
    assert resampling_on(CPU) is resample_channel
    assert resampling_on(torch.device("cuda")).args == (torch.device("cuda"),)
