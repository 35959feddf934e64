"""Rules of rotation and loader size, and reading of transformed patches against slow, plain arithmetic."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from segfw.core.settings.training import AugmentationSettings
from segfw.data.cutting import cut_on_host, paste
from segfw.data.device_store import load_on_device
from segfw.data.drawing import PatchDraws
from segfw.data.spatial import (
    SpatialDraws,
    count_spatial,
    draw_spatial,
    find_cells,
    interpolate,
    is_dummy_2d,
    largest_rotation,
    loader_patch_size,
    rotation_2d,
    rotation_3d,
    sample_positions,
    vote,
    vote_everywhere,
    vote_where_mixed,
)

DEFAULT = AugmentationSettings()
GOLDEN = json.loads((Path(__file__).parent.parent / "golden/augmentation/initial_patch_size.json").read_text())


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: "x".join(map(str, g["patch_size"])))
def test_loader_size_equals_the_reference(golden: dict) -> None:
    size = tuple(golden["patch_size"])
    assert largest_rotation(size, DEFAULT) == golden["rotation_deg"]
    assert is_dummy_2d(size, DEFAULT) == golden["dummy_2d"]
    assert loader_patch_size(size, DEFAULT) == tuple(golden["initial_patch_size"])


@pytest.mark.parametrize(
    ("size", "dummy", "degrees"),
    [
        ((10, 30, 30), False, 30.0),
        ((10, 31, 30), True, 180.0),
        ((31, 10, 31), False, 30.0),
        ((30, 20), False, 180.0),
        ((31, 20), False, 15.0),
    ],
)
def test_rotation_rule_at_its_thresholds(size: tuple[int, ...], dummy: bool, degrees: float) -> None:
    assert is_dummy_2d(size, DEFAULT) is dummy
    assert largest_rotation(size, DEFAULT) == degrees


def test_settings_overrule_the_rules() -> None:
    settings = AugmentationSettings(rotation_degrees=7.0, dummy_2d=True)
    assert largest_rotation((8, 8, 8), settings) == 7.0
    assert is_dummy_2d((8, 8, 8), settings)
    assert not is_dummy_2d((8, 8), settings)
    still = AugmentationSettings(rotation_probability=0, scaling_probability=0)
    assert loader_patch_size((40, 56, 40), still) == (40, 56, 40)
    # 17 / 0.85 = 20 exactly: no rotation, so only the division is left.
    assert loader_patch_size((17, 17, 17), AugmentationSettings(rotation_probability=0)) == (20, 20, 20)


def draw(count, size, settings, seed=0):
    return draw_spatial(np.random.default_rng(seed).random((count, count_spatial(len(size)))), size, settings)


def test_draw_frequencies_and_ranges() -> None:
    draws = draw(4000, (8, 8, 8), DEFAULT)
    # 1 - 0.8 * 0.8 = 0.36; standard error sqrt(0.36 * 0.64 / 4000) = 0.0076
    assert abs(len(draws.turned) / 4000 - 0.36) < 4 * 0.0076
    assert draws.matrices.shape == (len(draws.turned), 3, 3)
    factors = np.cbrt(np.linalg.det(draws.matrices))
    scaled = factors[np.abs(factors - 1) > 1e-9]
    assert abs(len(scaled) / 4000 - 0.2) < 4 * 0.0063
    assert 0.7 <= scaled.min() < 0.72
    assert 1.38 < scaled.max() <= 1.4
    assert abs(scaled.mean() - 1.05) < 0.03
    assert (draws.shifts == 0).all()


def test_angles_reach_their_limit_and_no_further() -> None:
    settings = AugmentationSettings(rotation_probability=1, scaling_probability=0, rotation_degrees=90)
    matrices = draw(1000, (8, 8), settings, seed=1).matrices
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert np.abs(angles).max() <= 90
    assert np.abs(angles).max() > 89
    assert abs(angles.mean()) < 4 * 90 / math.sqrt(3 * 1000)


def uniform(values: np.ndarray, low: float, high: float) -> bool:
    """Whether a Kolmogorov-Smirnov test at 1 in 10,000 lets `values` pass as uniform between `low` and `high`."""
    return float(kstest(values, "uniform", (low, high - low)).pvalue) > 1e-4


@pytest.mark.parametrize(
    ("size", "degrees"), [((40, 56, 40), 30), ((16, 64, 64), 180), ((56, 40), 180), ((64, 32), 15)]
)
def test_angles_and_scales_are_uniform_in_the_ranges_of_the_patch(size: tuple[int, ...], degrees: float) -> None:
    turned = AugmentationSettings(rotation_probability=1, scaling_probability=0)
    matrices = draw(3000, size, turned, seed=7).matrices
    if matrices.shape[1] == 2:  # a slice, or 16 x 64 x 64, which is turned in plane
        angles = [np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])]
    else:  # Rz Ry Rx; its last row is (sin y, cos y sin x, cos y cos x), its first column cos y (cos z, sin z), sin y
        angles = [
            np.arctan2(matrices[:, 2, 1], matrices[:, 2, 2]),
            np.arcsin(matrices[:, 2, 0]),
            np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]),
        ]
    for angle in angles:
        assert uniform(np.degrees(angle), -degrees, degrees)
    assert abs(np.corrcoef(angles)).reshape(len(angles), -1)[np.triu_indices(len(angles), 1)].max(initial=0) < 4 / 54
    scaled = AugmentationSettings(rotation_probability=0, scaling_probability=1)
    factors = draw(3000, size, scaled, seed=9).matrices
    assert uniform(factors[:, 0, 0], 0.7, 1.4)
    np.testing.assert_allclose(factors, factors[:, :1, :1] * np.eye(len(factors[0])), atol=1e-12)


def test_rotation_and_scaling_are_independent() -> None:
    changed = draw(8000, (8, 8), DEFAULT, seed=8).matrices
    turned = np.abs(changed[:, 1, 0]) > 1e-9
    scaled = np.abs(np.linalg.det(changed) - 1) > 1e-9
    # Standard errors over 8000 patches: of 0.2 0.0045, of 0.04 0.0022.
    assert abs(turned.sum() / 8000 - 0.2) < 4 * 0.0045
    assert abs(scaled.sum() / 8000 - 0.2) < 4 * 0.0045
    assert abs((turned & scaled).sum() / 8000 - 0.04) < 4 * 0.0022


def test_shift_in_whole_voxels() -> None:
    settings = AugmentationSettings(shift_probability=1, shift_range=0.25)
    shifts = draw(500, (8, 16), settings, seed=2).shifts
    assert np.abs(shifts).max(0).tolist() == [2, 4]
    assert len(np.unique(shifts[:, 1])) == 9


@given(st.tuples(*[st.floats(-3, 3)] * 3))
def test_rotations_are_rotations(angles: tuple[float, float, float]) -> None:
    matrix = rotation_3d(*angles)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_rotations_turn_the_axes_they_name() -> None:
    quarter = math.pi / 2
    np.testing.assert_allclose(rotation_2d(quarter), [[0, -1], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(rotation_3d(quarter, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation_3d(0, quarter, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_3d(0, 0, quarter) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


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
    out_image, out_label = read_patch(
        image, label, (0, 0), ((7, 7), (7, 7)), rotation_2d(math.pi / 2)
    )
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


def pad(values: list, fill: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.nn.functional.pad(torch.tensor(values, dtype=dtype), (1, 2, 1, 2), value=fill).reshape(1, -1)


def test_label_ties_go_to_the_nearest_then_the_smallest() -> None:
    # Shares at (0.4, 0.5): 5 has 0.6 * 0.5 + 0.4 * 0.5 = 0.5, 3 the same. The nearest voxel is (0, 0) or (0, 1).
    cells = find_cells([torch.tensor([0.4]), torch.tensor([0.5])], (2, 2))
    assert vote(pad([[5, 3], [3, 5]], -1, torch.int16), cells).tolist() == [[5]]
    cells = find_cells([torch.tensor([0.2, 0.6]), torch.tensor([0.3, 0.8])], (2, 2))
    assert vote(pad([[4, 2], [3, 1]], -1, torch.int16), cells).tolist() == [[4, 1]]


@pytest.mark.parametrize("ndim", [2, 3])
def test_voting_everywhere_equals_voting_where_labels_differ(ndim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (2**ndim, 4000), generator=generator, dtype=torch.int8)
    fractions = [torch.randint(0, 5, (4000,), generator=generator) / 4 for _ in range(ndim)]  # many ties
    assert torch.equal(vote_everywhere(labels, fractions), vote_where_mixed(labels, fractions))


def test_image_is_zero_beyond_its_border() -> None:
    cells = find_cells([torch.tensor([-0.25, 1.0, 2.5, 9.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])], (3, 3))
    plane = pad([[1.0] * 3] * 3, 0, torch.float32).reshape(-1)
    torch.testing.assert_close(interpolate(plane, cells), torch.tensor([0.75, 1.0, 0.5, 0.0]))


@pytest.mark.parametrize("rows", [1, 3])
def test_volumes_are_sampled_as_torch_does(rows: int) -> None:
    image = torch.randn(6, 7, 8, generator=torch.Generator().manual_seed(0))
    matrices = torch.tensor(np.stack([rotation_3d(0.5, -0.4, row) * 1.3 for row in range(rows)]), dtype=torch.float32)
    positions = sample_positions(matrices, (6, 7, 8), (6, 7, 8))
    grid = torch.stack([2 * (p + 0.5) / n - 1 for p, n in zip(positions, (6, 7, 8), strict=True)][::-1], -1)
    want = torch.nn.functional.grid_sample(image.expand(rows, 1, -1, -1, -1), grid, align_corners=False)
    plane = torch.nn.functional.pad(image, (1, 2) * 3).reshape(-1)
    got = interpolate(plane, find_cells(positions, (6, 7, 8)))
    torch.testing.assert_close(got.reshape(want.shape), want, atol=2e-5, rtol=0)
