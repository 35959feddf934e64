"""Each intensity transform: what it must do to a plane, and what it must leave."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from segfw.data.intensity import (
    add_noise,
    blur,
    blur_kernel,
    change_gamma,
    lower_resolution,
    scale_brightness,
    scale_contrast,
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
