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
from segfw.core.settings.schema import InferenceSettings
from segfw.inference import pace, sliding_window
from segfw.inference.fallbacks import Attempts, Way
from segfw.inference.memory import Budget
from segfw.inference.sliding_window import (
    Means,
    gaussian_weights,
    mirrorings,
    move,
    predict_logits,
    prepare_means,
    window_starts,
)

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


def test_batches_are_filled(one_thread):
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


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 11)] * 3),
    st.lists(st.integers(2, 5), min_size=2, max_size=3),
    st.integers(2, 20),
    st.sampled_from([0.5, 0.7, 1.0]),
    st.booleans(),
)
def test_the_result_does_not_depend_on_how_many_windows_go_at_once(shape, tile, batch_size, step_size, mirror):
    """Whatever the image, smaller than the window in some axes or in none."""
    network, axes = Stand(len(tile)).eval(), tuple(range(len(tile)))
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3))
    one, many = (
        predict_logits(network, image, tuple(tile), InferenceSettings(step_size, mirror, count), axes, 3)
        for count in (1, batch_size)
    )
    assert one.shape == (3, *shape)
    torch.testing.assert_close(one, many, rtol=2e-3, atol=1e-3)  # two roundings of float16


META = torch.device("meta")
"""Stands for a graphics card: nothing can be computed there, but a network says where it is asked to."""


class Crowded(Stand):
    """A network that lacks memory for more than `most` windows, or wherever it lies, until it is moved to the CPU."""

    def __init__(self, most, error=None):
        super().__init__(3)
        self.most, self.tried = most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.eval()

    def forward(self, x):
        self.tried.append((x.device.type, len(x)))
        if x.device.type == "meta" or len(x) > self.most:
            raise self.error
        return super().forward(x)


IMAGE = torch.randn(2, 9, 6, 7, generator=torch.Generator().manual_seed(4))


def predicted(network, batch_size, means=None, budget=None):
    inference = InferenceSettings(window_batch_size=batch_size)
    return predict_logits(network, IMAGE, (4, 6, 4), inference, (0, 1, 2), 3, means, budget)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")])
def test_fewer_windows_at_once_where_memory_lacks(one_thread, error, caplog):
    network = Crowded(2, error)
    logits = predicted(network, 8)
    assert [count for _, count in network.tried[:3]] == [
        6,
        3,
        2,
    ]  # three windows in a layer, mirrored twice; three; two
    torch.testing.assert_close(logits, predicted(Stand(3), 2), rtol=0, atol=0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_the_next_case_begins_with_what_worked(one_thread, caplog):
    network, means = Crowded(2), Means(Attempts("sliding window", [Way(torch.device("cpu"), n) for n in (8, 4, 2, 1)]))
    for _ in range(3):
        predicted(network, 8, means)
    assert max(count for _, count in network.tried[3:]) == 2
    assert len(caplog.records) == 2


def test_the_cpu_is_the_last_resort(monkeypatch, caplog):
    """The network lies on a card without room: single windows, sums on the host, and the CPU in the end."""
    monkeypatch.setattr(sliding_window, "_device", lambda network: META)
    moved = []
    monkeypatch.setattr(sliding_window, "move", lambda network, device: moved.append(device.type))
    network = Crowded(8)
    logits = predicted(network, 2, budget=Budget(1e12, 1e12))
    monkeypatch.undo()
    assert network.tried[:4] == [("meta", 2), ("meta", 1), ("meta", 1), ("cpu", 1)]
    assert moved == ["meta", "meta", "meta", "cpu"]
    torch.testing.assert_close(logits, predicted(Stand(3), 1), rtol=0, atol=0)
    assert [record.getMessage().partition("now on ")[2] for record in caplog.records] == [
        "1 window at once on meta",
        "1 window at once on meta, sums on the host",
        "1 window at once on cpu",
    ]


def test_sums_go_to_the_host_where_the_device_has_no_room_for_them(monkeypatch):
    """A device's small budget: the windows alone go there, so the logits that come back are of the CPU's image."""
    courses = []
    spied = sliding_window.choose_course

    def choose(demand, budget, way):
        courses.append(spied(demand, budget, Way(META, way.batch_size)))
        return courses[-1]

    monkeypatch.setattr(sliding_window, "choose_course", choose)
    logits = predicted(Stand(3), 4, budget=Budget(1e12, 6000))
    assert courses[0].sums_on_host  # a window takes 4992 bytes, with image and sums 12048
    monkeypatch.undo()
    torch.testing.assert_close(logits, predicted(Stand(3), 1), rtol=0, atol=0)


def test_out_of_memory_to_the_last_is_an_error_of_the_case():
    with pytest.raises(JobError, match=r"sliding window: out of memory even with 1 window at once on cpu"):
        predicted(Crowded(0), 4)


def test_a_moved_network_can_still_be_trained():
    """Its parameters are no tensors of inference mode, although it is moved within one."""
    network = Stand(3)
    with torch.inference_mode():
        move(network, META)
    assert {parameter.device for parameter in network.parameters()} == {META}
    assert not any(parameter.is_inference() for parameter in network.parameters())


def test_a_small_budget_lets_fewer_windows_go_at_once():
    network = Stand(3)
    predicted(network, 8, budget=Budget(1.0, 0))
    assert max(network.batches) == 1


def test_means_tell_what_a_window_takes_or_nothing_where_there_is_no_room():
    means = prepare_means(Stand(3).eval(), 2, (4, 6, 4), (2, 2, 2), 4)
    assert means.network_bytes == 4 * 3 * 96  # three heads in float32
    assert means.attempts.current == Way(torch.device("cpu"), 4)
    assert prepare_means(Crowded(0), 2, (4, 6, 4), (2, 2, 2), 4).network_bytes == 0


def test_a_long_image_tells_how_far_it_is(monkeypatch, caplog):
    monkeypatch.setattr(pace, "PERIOD", 0.0)
    image = torch.zeros(1, 8, 4, 4)  # windows at 0, 2 and 4
    with caplog.at_level("INFO", logger=pace.__name__):
        predict_logits(nn.Conv3d(1, 2, 1), image, (4, 4, 4), InferenceSettings(), (), 2)
    assert [line.split(" windows")[0] for line in caplog.messages] == [
        "an image of 8 x 4 x 4 voxels: 1 of 3",
        "an image of 8 x 4 x 4 voxels: 2 of 3",
    ]
