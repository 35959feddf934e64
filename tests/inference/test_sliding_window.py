"""Window positions and weights against nnU-Net's, accumulation against a plain implementation."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segfw.core.errors import JobError, UsageError
from segfw.core.settings import InferenceSettings
from segfw.inference.sliding_window import gaussian_weights, mirrorings, predict_logits, window_starts

GOLDEN = Path(__file__).parents[1] / "golden" / "sliding_window"


@pytest.mark.parametrize(
    "entry", json.loads((GOLDEN / "steps.json").read_text()), ids=lambda entry: str(entry["image_size"])
)
def test_positions_equal_the_reference(entry):
    axes = zip(entry["image_size"], entry["tile_size"], entry["steps"], strict=True)
    for size, tile, starts in axes:
        assert window_starts(size, tile, entry["tile_step_size"]) == tuple(starts)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(0, 300), st.floats(0.05, 1))
def test_windows_cover_the_axis(tile, more, step_size):
    starts = window_starts(tile + more, tile, step_size)
    assert starts[0] == 0
    assert starts[-1] == more
    assert all(0 <= b - a <= tile for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem)
def test_weights_equal_the_reference(path):
    expected = np.load(path)["as_used_float16_scale10"]
    weights = gaussian_weights(expected.shape)
    assert weights.dtype == np.float16
    np.testing.assert_array_equal(weights, expected)


def test_mirrorings_in_order_of_size():
    assert mirrorings(()) == ((),)
    assert mirrorings((2, 0, 1)) == ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


class Stand(nn.Module):
    """A network that sees more than one voxel: a convolution with zero padding, so windows differ at their borders."""

    def __init__(self, ndim, channels=2, heads=3):
        super().__init__()
        kind = nn.Conv3d if ndim == 3 else nn.Conv2d
        generator = torch.Generator().manual_seed(1)
        self.convolution = kind(channels, heads, 3, padding=1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return self.convolution(x)


def plain_prediction(network, image, tile, step_size, subsets):
    """The method as the specification words it, in float64 sums over the whole volume."""
    missing = [0] * (3 - len(tile)) + [max(0, t - n) for n, t in zip(image.shape[-len(tile) :], tile, strict=True)]
    padded = nn.functional.pad(image, [w for m in reversed(missing) for w in (m // 2, m - m // 2)])
    weights = torch.from_numpy(gaussian_weights(tile).astype(np.float64))
    sums, norm = (
        torch.zeros(3, *padded.shape[1:], dtype=torch.float64),
        torch.zeros(padded.shape[1:], dtype=torch.float64),
    )
    tiles = [1] * (3 - len(tile)) + list(tile)
    starts = [
        window_starts(n, t, step_size) if t > 1 else range(n) for n, t in zip(padded.shape[1:], tiles, strict=True)
    ]
    for corner in itertools.product(*starts):
        box = tuple(slice(c, c + t) for c, t in zip(corner, tiles, strict=True))
        window = padded[(slice(None), *box)].reshape(1, -1, *tile)
        passes = [network(window.flip([a + 2 for a in s])).flip([a + 2 for a in s]) for s in subsets]
        mean = (sum(passes) / len(passes)).double()[0]
        sums[(slice(None), *box)] += (mean * weights).reshape(3, *tiles)
        norm[box] += weights.reshape(tiles)
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, image.shape[1:], strict=True))
    return (sums / norm)[(slice(None), *inner)]


CASES = {
    "several windows": ((9, 11, 7), (4, 6, 4)),
    "padded on two axes": ((3, 9, 5), (4, 4, 8)),
    "one window": ((4, 6, 4), (4, 6, 4)),
    "one padded window": ((3, 5, 2), (4, 6, 4)),
    "slices": ((5, 9, 7), (4, 6)),
    "one padded window per slice": ((5, 3, 5), (4, 6)),
}


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("shapes", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("mirror", [False, True])
def test_logits_equal_a_plain_implementation(shapes, batch_size, mirror):
    shape, tile = shapes
    network = Stand(len(tile)).eval()
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))
    axes = tuple(range(len(tile)))
    with torch.no_grad():
        expected = plain_prediction(network, image, tile, 0.5, mirrorings(axes if mirror else ()))
    network.batches.clear()
    inference = InferenceSettings(step_size=0.5, mirror=mirror, window_batch_size=batch_size)
    logits = predict_logits(network, image, tile, inference, axes, 3)
    assert logits.shape == (3, *shape)
    assert logits.dtype == torch.float16
    torch.testing.assert_close(logits.double(), expected, rtol=1e-3, atol=1e-4)
    assert max(network.batches) <= batch_size


def test_batches_are_filled():
    network = Stand(2)
    inference = InferenceSettings(mirror=True, window_batch_size=8)
    predict_logits(network, torch.zeros(2, 6, 4, 4), (4, 4), inference, (0, 1), 3)
    assert network.batches == [8, 8, 8]  # six slices, four passes each: two slices at once


def test_every_axis_choice_of_mirroring():
    """A network that marks direction: the first voxel's value along an axis survives only where it is not mirrored."""

    class Ramp(nn.Module):
        def forward(self, x):
            return x * torch.arange(x.shape[-1], dtype=torch.float32)

    image = torch.ones(1, 2, 2, 4)
    inference = InferenceSettings()
    plain = predict_logits(Ramp(), image, (2, 2, 4), inference, (), 1)
    np.testing.assert_array_equal(plain[0, 0, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(predict_logits(Ramp(), image, (2, 2, 4), inference, (0, 1), 1)[0, 0, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(predict_logits(Ramp(), image, (2, 2, 4), inference, (2,), 1)[0, 0, 0], [1.5] * 4)


class Constant(nn.Module):
    def __init__(self, value, heads=1):
        super().__init__()
        self.value, self.heads = value, heads

    def forward(self, x):
        return torch.full((len(x), self.heads, *x.shape[2:]), self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
@pytest.mark.parametrize("shape", [(4, 4, 4), (6, 4, 4)])
def test_logits_that_are_not_finite_stop(value, shape):
    with pytest.raises(JobError, match="not finite"):
        predict_logits(Constant(value), torch.zeros(1, *shape), (4, 4, 4), InferenceSettings(), (), 1)


@pytest.mark.parametrize(
    ("inference", "axes", "message"),
    [
        (InferenceSettings(step_size=0.0), (), r"step_size.*got 0\.0"),
        (InferenceSettings(step_size=1.5), (), r"step_size.*got 1\.5"),
        (InferenceSettings(window_batch_size=0), (), "window_batch_size.*got 0"),
        (InferenceSettings(), (0, 3), r"0 to 2 here, got \(0, 3\)"),
    ],
)
def test_wrong_settings_name_the_value(inference, axes, message):
    with pytest.raises(UsageError, match=message):
        predict_logits(Constant(0.0), torch.zeros(1, 4, 4, 4), (4, 4, 4), inference, axes, 1)


def test_wrong_number_of_heads_is_told():
    with pytest.raises(JobError, match=r"heads of \(2, 4, 4, 4\), got \(1, 4, 4, 4\)"):
        predict_logits(Constant(0.0), torch.zeros(1, 4, 4, 4), (4, 4, 4), InferenceSettings(), (), 2)
