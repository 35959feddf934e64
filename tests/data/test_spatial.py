"""Rules of rotation and loader size, what is drawn by them, and interpolation and votes against plain arithmetic."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from segfw.core.settings.training import AugmentationSettings
from segfw.data.spatial import (
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
