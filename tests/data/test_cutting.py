"""Patches cut from a case, on the host and on a device, against a definition that goes voxel by voxel."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfw.data.cutting import cut_on_host, paste
from segfw.data.device_store import load_on_device
from segfw.data.drawing import PatchDraws
from segfw.data.spatial import SpatialDraws, rotation_2d, rotation_3d


@given(st.integers(-6, 9), st.integers(-6, 9), st.integers(1, 8), st.integers(1, 8))
def test_paste_equals_padding_then_cutting(a: int, b: int, height: int, width: int) -> None:
    array = np.arange(1, 31).reshape(1, 5, 6)
    np.testing.assert_array_equal(crop(array, (a, b), (height, width), -1), crop_slowly(array, a, b, height, width))


def crop(array: np.ndarray, start: tuple, size: tuple, fill: int) -> np.ndarray:
    out = np.full((len(array), *size), fill, array.dtype)
    paste(out, array, start)
    return out


def crop_slowly(array: np.ndarray, a: int, b: int, height: int, width: int) -> np.ndarray:
    padded = np.pad(array, ((0, 0), (20, 20), (20, 20)), constant_values=-1)
    return padded[:, 20 + a : 20 + a + height, 20 + b : 20 + b + width]


@dataclass
class Arrays:
    """One case in memory."""

    arrays: tuple

    def image(self, name: str) -> np.ndarray:
        return self.arrays[0]

    def label(self, name: str) -> np.ndarray:
        return self.arrays[1]


def in_three_axes(values: tuple, fill: int) -> tuple:
    return (fill,) * (3 - len(values)) + tuple(values)


@pytest.fixture(params=["host", "device"])
def read_patch(request: pytest.FixtureRequest) -> Callable:
    """Cut one patch from arrays of 2 or 3 axes, each way that there is."""

    def read(image, label, start, sizes, matrix=None):
        image, label = ([part, part[:, None]][part.ndim == 3] for part in (image, label))
        boxes = [in_three_axes(size, 1) for size in sizes]
        spec = SimpleNamespace(patch_size=sizes[0], box_size=boxes[0], loader_box=boxes[1])
        turned = np.arange(0 if matrix is None else 1)
        spatial = SpatialDraws(turned, np.zeros((0, 3, 3)) if matrix is None else matrix[None], np.zeros((1, 3)))
        draws = PatchDraws(("one",), np.array([in_three_axes(start, 0)]), spatial)
        store = Arrays((image, label))
        if request.param == "host":
            patch = cut_on_host(store, draws, spec)
        else:
            patch = load_on_device(store, ["one"], torch.device("cpu")).cut(draws, spec)
        return patch[0][0], patch[1][0]

    return read


def slow_sample(image: np.ndarray, label: np.ndarray, start: tuple, sizes: tuple, matrix: np.ndarray) -> tuple:
    """The definition, voxel by voxel: linear image, per-label linear shares, zero and -1 beyond the loader patch."""
    size, loader = sizes
    loaded_image = crop(image, start, loader, 0)[0]
    loaded_label = crop(label, start, loader, -1)[0]
    out_image, shares = np.zeros(size), {int(v): np.zeros(size) for v in np.unique([-1, *label.ravel()])}
    for o in itertools.product(*map(range, size)):
        x = matrix @ (np.array(o) - (np.array(size) - 1) / 2) + (np.array(loader) - 1) / 2
        base = np.floor(x).astype(int)
        for corner in itertools.product((0, 1), repeat=len(size)):
            weight = np.prod(np.where(corner, x - base, 1 - (x - base)))
            at = tuple(base + corner)
            inside = all(0 <= i < n for i, n in zip(at, loader, strict=True))
            out_image[o] += weight * loaded_image[at] if inside else 0
            shares[int(loaded_label[at]) if inside else -1][o] += weight
    values = sorted(shares)
    stacked = np.stack([shares[v] for v in values])
    margin = np.diff(np.sort(stacked, axis=0)[-2:], axis=0)[0]
    return out_image, np.array(values)[stacked.argmax(0)], margin


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_reading_equals_the_definition(read_patch: Callable, ndim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, size, loader = (9, 7, 8)[:ndim], (6, 5, 4)[:ndim], (9, 8, 7)[:ndim]
    image = rng.standard_normal((1, *shape)).astype(np.float32)
    label = rng.integers(-1, 5, (1, *shape)).astype(np.int8)
    start = tuple(rng.integers(-4, 4, ndim).tolist())
    matrix = rotation_2d(0.4 + seed) if ndim == 2 else rotation_3d(0.3, -0.4, seed)
    matrix = matrix * (0.7 + 0.3 * seed)
    got_image, got_label = read_patch(image, label, start, (size, loader), matrix)
    want_image, want_label, margin = slow_sample(image, label, start, (size, loader), matrix)
    np.testing.assert_allclose(got_image[0], want_image, atol=2e-5)
    decided = margin > 1e-4
    assert decided.mean() > 0.7
    np.testing.assert_array_equal(got_label[0].numpy()[decided], want_label[decided])
    assert got_label.dtype == torch.int16
    assert got_image.dtype == torch.float32


def test_identity_matrix_equals_the_central_crop(read_patch: Callable) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, 12, 11, 10)).astype(np.float32)
    label = rng.integers(-1, 4, (1, 12, 11, 10)).astype(np.int8)
    sizes = ((5, 4, 3), (9, 8, 7))
    plain = read_patch(image, label, (-2, 1, 5), sizes, None)
    turned = read_patch(image, label, (-2, 1, 5), sizes, np.eye(3))
    torch.testing.assert_close(plain[0], turned[0])
    assert torch.equal(plain[1], turned[1])


def test_central_crop_and_shift_by_hand(read_patch: Callable) -> None:
    image = np.arange(10, dtype=np.float32).reshape(1, 1, 10)
    label = np.zeros((1, 1, 10), np.int8)
    # Loader patch of 6 at 2, patch of 3: begins at 2 + 6 // 2 - 3 // 2 = 4; shifted by -5 it sticks out.
    sizes = ((1, 3), (1, 6))
    assert read_patch(image, label, (0, 2), sizes)[0].tolist() == [[[4, 5, 6]]]
    shifted = read_patch(image, label, (0, -3), sizes)
    assert shifted[0].tolist() == [[[0, 0, 1]]]
    assert shifted[1].tolist() == [[[-1, 0, 0]]]


def test_quarter_turn_moves_image_and_label_together(read_patch: Callable) -> None:
    label = np.zeros((1, 7, 7), np.int8)
    label[0, 1, 2] = 3
    image = label.astype(np.float32)
    out_image, out_label = read_patch(image, label, (0, 0), ((7, 7), (7, 7)), rotation_2d(math.pi / 2))
    # Index o shows A o: offset (-2, -1) from the center is seen at A^T (-2, -1) = (-1, 2), index (2, 5).
    assert (out_label[0] == 3).nonzero().tolist() == [[2, 5]]
    torch.testing.assert_close(out_image, out_label.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(20))
def test_label_follows_the_image(read_patch: Callable, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((1, 8, 9)) > 0.5).astype(np.int8)
    # Where the label is 0 or 1 and nothing is outside, the winner is the side of 0.5 the linear image lies on.
    padded = np.pad(mask, ((0, 0), (12, 12), (12, 12)))
    matrix = rotation_2d(rng.uniform(-3, 3)) * rng.uniform(0.7, 1.4)
    image, label = read_patch(padded.astype(np.float32), padded, (0, 0), ((8, 8), (32, 33)), matrix)
    decided = (image - 0.5).abs() > 1e-4
    assert torch.equal((image > 0.5)[decided], (label == 1)[decided])


def test_in_plane_transform_leaves_the_depth_alone(read_patch: Callable) -> None:
    rng = np.random.default_rng(5)
    image = rng.standard_normal((2, 5, 12, 12)).astype(np.float32)
    label = rng.integers(0, 3, (1, 5, 12, 12)).astype(np.int8)
    turn = rotation_2d(0.5)
    out_image, out_label = read_patch(image, label, (1, 0, 0), ((5, 8, 8), (5, 12, 12)), turn)
    for depth in range(4):
        one = read_patch(image[:, depth + 1], label[:, depth + 1], (0, 0), ((8, 8), (12, 12)), turn)
        torch.testing.assert_close(out_image[:, depth], one[0])
        assert torch.equal(out_label[:, depth], one[1])
    assert (out_image[:, 4] == 0).all()
    assert (out_label[:, 4] == -1).all()


def test_patch_wholly_outside_the_image(read_patch: Callable) -> None:
    image, label = np.ones((1, 4, 4), np.float32), np.zeros((1, 4, 4), np.int8)
    out = read_patch(image, label, (50, 50), ((3, 3), (5, 5)), rotation_2d(0.3))
    assert (out[0] == 0).all()
    assert (out[1] == -1).all()
