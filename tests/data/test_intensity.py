"""Each intensity transform: what it must do to a plane, and what it must leave."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from segfw.data.intensity import (
    MOST_BOXES,
    add_gradient,
    add_noise,
    add_offset,
    blank_boxes,
    blur,
    blur_kernel,
    change_gamma,
    lower_resolution,
    scale_brightness,
    scale_contrast,
    sharpen,
)


@pytest.fixture
def planes() -> torch.Tensor:
    """Three rows of 8 x 9 x 10 voxels."""
    return torch.randn(3, 8, 9, 10, generator=torch.Generator().manual_seed(0)) * 2 + 1


def test_noise_moments_and_seeds() -> None:
    zeros = torch.zeros(3, 40, 40)
    noisy = add_noise(zeros, torch.tensor([0.1, 0.5, 0.5]), [1, 2, 2])
    # 1600 voxels: the standard deviation is known to 1 / sqrt(3200) = 1.8 %.
    np.testing.assert_allclose(noisy.std((1, 2)), [0.1, 0.5, 0.5], rtol=0.07)
    assert noisy.mean((1, 2)).abs().max() < 0.05
    assert torch.equal(noisy[1], noisy[2])
    assert not torch.equal(noisy[0] * 5, noisy[1])
    assert (zeros == 0).all()


@pytest.mark.parametrize(
    ("sigma", "taps"), [(0.5, 3), (0.58, 3), (0.59, 5), (0.9, 5), (0.92, 7), (1.0, 7), (0.1, 3), (2.0, 13)]
)
def test_blur_kernel_length(sigma: float, taps: int) -> None:
    half = blur_kernel(np.array([sigma]))[0]
    assert 2 * len(half) - 1 == taps
    assert half[0] + 2 * half[1:].sum() == pytest.approx(1)


def test_short_kernels_in_a_batch_stay_short() -> None:
    both = blur_kernel(np.array([0.5, 1.0]))
    assert both.shape == (2, 4)
    assert (both[0, 2:] == 0).all()
    np.testing.assert_allclose(both[0, :2], blur_kernel(np.array([0.5]))[0])


def test_blur_equals_scipy(planes: torch.Tensor) -> None:
    sigma = np.array([[0.5, 0.7, 1.0], [1.0, 0.5, 0.5], [0.8, 0.8, 0.8]])
    radius = np.array([[1, 2, 3], [3, 1, 1], [2, 2, 2]])
    got = blur(planes, sigma)
    for row in range(3):
        # scipy calls reflection without repeating the border "mirror".
        want = gaussian_filter(planes[row].double().numpy(), sigma[row], mode="mirror", radius=radius[row])
        np.testing.assert_allclose(got[row], want, atol=1e-5)


def test_blur_of_axes_shorter_than_the_kernel() -> None:
    thin = torch.rand(1, 1, 2, 6)
    got = blur(thin, np.ones((1, 3)))
    want = gaussian_filter(thin[0].numpy(), 1.0, mode="mirror", radius=3)
    np.testing.assert_allclose(got[0], want, atol=1e-6)


def test_brightness(planes: torch.Tensor) -> None:
    torch.testing.assert_close(scale_brightness(planes, torch.tensor([0.5, 1.0, 2.0]))[2], planes[2] * 2)


def test_contrast_by_hand() -> None:
    row = torch.tensor([[[0.0, 1.0, 2.0, 5.0]]])
    # Mean 2: 1.5 times the distances gives -1, 0.5, 2, 6.5; the range was 0 to 5.
    assert scale_contrast(row, torch.tensor([1.5])).tolist() == [[[0.0, 0.5, 2.0, 5.0]]]
    assert scale_contrast(row, torch.tensor([0.5])).tolist() == [[[1.0, 1.5, 2.0, 3.5]]]


def test_gamma_keeps_mean_and_deviation(planes: torch.Tensor) -> None:
    changed = change_gamma(planes, torch.tensor([0.7, 1.0, 1.5]))
    torch.testing.assert_close(changed.mean((1, 2, 3)), planes.mean((1, 2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.std((1, 2, 3)), planes.std((1, 2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed[1], planes[1], atol=1e-5, rtol=0)
    assert (changed[0] - planes[0]).abs().max() > 0.01


def test_gamma_by_hand() -> None:
    row = torch.tensor([[[1.0, 2.0, 5.0]]])
    # Shares of the range 0, 1/4, 1 squared are 0, 1/16, 1; times 4 plus 1: 1, 1.25, 5. Then the old mean and std.
    squared = np.array([1.0, 1.25, 5.0])
    want = (squared - squared.mean()) / squared.std(ddof=1) * np.std([1, 2, 5], ddof=1) + 8 / 3
    np.testing.assert_allclose(change_gamma(row, torch.tensor([2.0]))[0, 0], want, rtol=1e-5)


@pytest.mark.parametrize("transform", [change_gamma, scale_contrast])
def test_constant_planes_stay_finite(transform: object) -> None:
    constant = torch.full((1, 4, 4), 3.0)
    torch.testing.assert_close(transform(constant, torch.tensor([1.3])), constant)  # type: ignore[operator]


def test_low_resolution_by_hand() -> None:
    row = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]]).repeat(1, 4, 1)
    # Zoom 0.5 keeps voxels 1 and 3 (nearest-exact), then linear: 1, 1 + 2/4, 1 + 2 * 3/4, 3.
    assert lower_resolution(row, [0.5], False)[0, 0].tolist() == [1.0, 1.5, 2.5, 3.0]
    torch.testing.assert_close(lower_resolution(row, [1.0], False), row)


def test_low_resolution_in_plane_only() -> None:
    depth = torch.arange(5.0)[None, :, None, None].expand(1, 5, 6, 6)
    torch.testing.assert_close(lower_resolution(depth, [0.5], True), depth)
    assert not torch.equal(lower_resolution(depth, [0.5], False), depth)


def test_offset() -> None:
    assert add_offset(torch.zeros(2, 1, 2), torch.tensor([1.0, -2.0])).tolist() == [[[1, 1]], [[-2, -2]]]


def test_gradient_by_hand() -> None:
    # Along both axes of 6 x 12: center share 0.5 is half the axis, 3 and 6 voxels; width share 1 is the whole axis.
    got = add_gradient(torch.zeros(1, 6, 12), np.array([[-2.0, 0.5, 0.5, 1.0, 1.0]], np.float32))[0]
    assert got[3, 6] == -2
    assert got.min() == -2
    assert got[0, 6].item() == pytest.approx(-2 * np.exp(-(3**2) / (2 * 6**2)), rel=1e-5)
    assert got[3, 0].item() == pytest.approx(-2 * np.exp(-(6**2) / (2 * 12**2)), rel=1e-5)
    assert got[0, 0] * got[3, 6] == pytest.approx((got[0, 6] * got[3, 0]).item(), rel=1e-5)


def test_gradient_from_outside_reaches_its_height_at_the_border() -> None:
    # Center share 0 lies half a patch before it, and width share 0 is a sixth of the axis.
    got = add_gradient(torch.zeros(1, 12), np.array([[3.0, 0.0, 0.0]], np.float32))[0]
    assert got[0] == 3
    assert got[1].item() == pytest.approx(3 * np.exp((6**2 - 7**2) / (2 * 2**2)), rel=1e-5)
    assert (got.diff() < 0).all()


def test_sharpening_adds_what_blurring_takes(planes: torch.Tensor) -> None:
    got = sharpen(planes, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(got[0], planes[0])
    detail = planes[2] - blur(planes[2:], np.ones((1, 3)))[0]
    torch.testing.assert_close(got[2] - planes[2], detail)
    torch.testing.assert_close(sharpen(torch.full((1, 4, 4), 3.0), torch.ones(1)), torch.full((1, 4, 4), 3.0))


def test_blank_boxes_by_hand() -> None:
    row = torch.arange(1.0, 101.0).reshape(1, 10, 10)
    values = np.zeros((1, 1 + MOST_BOXES * 4))
    values[0, 0] = 0.2  # of five: two boxes
    values[0, 1:5] = (0.0, 1.0, 0.0, 1.0)  # 1 x 3 voxels, at the first row and the last columns
    values[0, 5:9] = (1.0, 0.0, 0.999, 0.0)  # 3 x 1 voxels, at the last rows and the first column
    got = blank_boxes(row, values, (0.1, 0.333))[0]
    want = row[0].clone()
    want[0, 7:] = 50.5
    want[7:, 0] = 50.5
    torch.testing.assert_close(got, want)


def test_blank_boxes_have_the_edges_they_should() -> None:
    values = np.random.default_rng(0).random((300, 1 + MOST_BOXES * 4))
    values[:, 0] = 0  # one box each
    planes = torch.arange(600.0).reshape(1, 20, 30).repeat(300, 1, 1)
    changed = blank_boxes(planes, values, (0.1, 0.333)) != planes
    heights, widths = changed.any(2).sum(1), changed.any(1).sum(1)
    assert (heights.min(), heights.max()) == (2, 7)
    assert (widths.min(), widths.max()) == (3, 10)
    torch.testing.assert_close(changed.sum((1, 2)), heights * widths)
    assert changed.any(0).any(0).all()
    assert changed.any(0).any(1).all()
