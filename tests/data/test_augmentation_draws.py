"""What augmentation draws: how often, in which ranges, and independently of what else is drawn."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy.stats import kstest

from segfw.core.settings.training import AugmentationSettings
from segfw.data.augmentation import Augmentation, AugmentationDraw
from segfw.data.randomness import sample_generators
from tests.data.transforms import STRONG, TRANSFORMS

EVERY_STRONG = AugmentationSettings(**dict.fromkeys((f"{name}_probability" for name in STRONG), 1.0))


@functools.cache
def draw_many(settings: AugmentationSettings) -> AugmentationDraw:
    """Draw for 4,000 volumes of two channels."""
    return Augmentation(settings, (0, 1, 2)).draw(sample_generators(0, "test", 0, range(4000)), 2, 3)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("noise", 0.1),
        ("blur", 0.1),
        ("brightness", 0.15),
        ("contrast", 0.15),
        ("low_resolution", 0.125),
        ("gamma_inverted", 0.1),
        ("gamma", 0.3),
        ("offset", 0.0),
        ("gradient", 0.0),
        ("sharpening", 0.0),
        ("blank", 0.0),
    ],
)
def test_frequencies(name: str, share: float) -> None:
    rows = getattr(draw_many(AugmentationSettings()), name).rows
    if share == 0:
        assert len(rows) == 0
        return
    # The two channels of a sample are not independent: count the standard error over samples.
    assert abs(len(rows) / 8000 - share) < 4 * math.sqrt(share / 4000)


@pytest.mark.parametrize(
    ("name", "low", "high", "mean"),
    [
        ("noise", 0, 0.1, 0.05),
        ("blur", 0.5, 1.0, 0.75),
        ("brightness", 0.75, 1.25, 1.0),
        ("contrast", 0.75, 1.25, 1.0),
        ("low_resolution", 0.5, 1.0, 0.75),
        ("gamma_inverted", 0.7, 1.5, 1.05),  # half of them about 0.85, half about 1.25
        ("gamma", 0.7, 1.5, 1.05),
    ],
)
def test_ranges_and_means(name: str, low: float, high: float, mean: float) -> None:
    values = getattr(draw_many(AugmentationSettings()), name).values
    assert low <= values.min() < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < values.max() <= high
    assert abs(values.mean() - mean) < 4 * 0.35 * (high - low) / math.sqrt(len(values) / 2)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("noise", 0.0, 0.1), ("blur", 0.5, 1.0), ("low_resolution", 0.5, 1.0)]
)
def test_plain_parameters_are_uniform(name: str, low: float, high: float) -> None:
    values = getattr(draw_many(AugmentationSettings()), name).values
    first = values[:: 2 if name == "noise" else 1]  # the channels of a sample share their noise's deviation
    assert kstest(first.ravel(), "uniform", (low, high - low)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("brightness", 0.75, 1.25), ("contrast", 0.75, 1.25), ("gamma_inverted", 0.7, 1.5), ("gamma", 0.7, 1.5)],
)
def test_factors_are_uniform_on_either_side_of_one(name: str, low: float, high: float) -> None:
    values = getattr(draw_many(AugmentationSettings()), name).values
    assert abs((values < 1).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(values))
    assert kstest(values[values < 1], "uniform", (low, 1 - low)).pvalue > 1e-4
    assert kstest(values[values >= 1], "uniform", (1, high - 1)).pvalue > 1e-4


def test_channels_draw_their_own_parameters() -> None:
    draw = draw_many(AugmentationSettings(blur_probability=1, gamma_probability=1, blur_channel_probability=1))
    sigma, gamma = draw.blur.values.reshape(4000, -1), draw.gamma.values.reshape(4000, 2)
    assert abs(np.corrcoef(sigma.T) - np.eye(6)).max() < 4 / math.sqrt(4000)
    assert abs(np.corrcoef(gamma.T)[0, 1]) < 4 / math.sqrt(4000)


def test_mirrorings_of_axes_are_independent() -> None:
    flips = draw_many(AugmentationSettings()).mirror
    _, counts = np.unique(flips, axis=0, return_counts=True)
    assert len(counts) == 8
    assert abs(counts / 4000 - 1 / 8).max() < 4 * math.sqrt(7 / 64 / 4000)


@pytest.mark.parametrize(
    ("name", "share", "width"), [("offset", 0.1, 1), ("gradient", 0.3, 7), ("sharpening", 0.2, 1), ("blank", 0.4, 31)]
)
def test_frequencies_of_strong_transforms(name: str, share: float, width: int) -> None:
    settings = AugmentationSettings(**{f"{name}_probability": share})  # type: ignore[arg-type]
    selection = getattr(draw_many(settings), name)
    assert abs(len(selection.rows) / 8000 - share / 2) < 4 * math.sqrt(share / 2 / 4000)
    assert selection.values[0].size == width


def test_parameters_of_strong_transforms() -> None:
    draw = draw_many(EVERY_STRONG)
    assert kstest(draw.offset.values, "norm", (0, 0.5)).pvalue > 1e-4
    assert kstest(draw.sharpening.values, "uniform", (0.1, 0.9)).pvalue > 1e-4
    height = draw.gradient.values[:, 0]
    assert abs((height > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(height))
    assert kstest(abs(height), "uniform", (1, 4)).pvalue > 1e-4
    for column in range(1, 7):
        assert kstest(draw.gradient.values[:, column], "uniform").pvalue > 1e-4


def test_strong_transforms_leave_the_draws_of_the_others_alone() -> None:
    one, two = draw_many(AugmentationSettings()), draw_many(EVERY_STRONG)
    for name in TRANSFORMS:
        np.testing.assert_array_equal(getattr(one, name).values, getattr(two, name).values)
    np.testing.assert_array_equal(one.mirror, two.mirror)


def test_factors_are_below_and_above_one_equally_often() -> None:
    values = draw_many(AugmentationSettings(gamma_range=(0.9, 3.0), gamma_probability=1)).gamma.values
    assert abs((values < 1).mean() - 0.5) < 4 * 0.5 / math.sqrt(8000)
    one_sided = draw_many(AugmentationSettings(gamma_range=(1.5, 2.0), gamma_probability=1)).gamma.values
    assert 1.5 <= one_sided.min() < one_sided.max() <= 2


def test_mirror_frequency_and_axes() -> None:
    flips = draw_many(AugmentationSettings()).mirror
    assert (abs(flips.mean(0) - 0.5) < 4 * 0.5 / math.sqrt(4000)).all()
    only = Augmentation(AugmentationSettings(), (1,)).draw(sample_generators(0, "x", 0, range(50)), 1, 3).mirror
    assert only.any(0).tolist() == [False, True, False]


def test_noise_is_shared_by_channels_but_not_its_voxels() -> None:
    draw = draw_many(AugmentationSettings(noise_probability=1.0))
    sigma = draw.noise.values.reshape(-1, 2)
    np.testing.assert_array_equal(sigma[:, 0], sigma[:, 1])
    assert len(set(draw.noise_seeds.tolist())) == 8000


def test_draws_do_not_depend_on_other_probabilities() -> None:
    first = draw_many(AugmentationSettings())
    second = draw_many(dataclasses.replace(AugmentationSettings(), noise_probability=0, blur_probability=1))
    np.testing.assert_array_equal(first.gamma.rows, second.gamma.rows)
    np.testing.assert_array_equal(first.mirror, second.mirror)


def test_draw_uses_every_number_once() -> None:
    for channels, ndim in ((1, 2), (3, 3)):
        rng = np.random.default_rng(0)
        Augmentation(AugmentationSettings(), ()).draw([rng], channels, ndim)
        count = 9 + ndim + channels * (12 + ndim) + 4 + channels * (9 + 2 * ndim + 10 * ndim)
        assert rng.random() == np.random.default_rng(0).random(count + 1)[-1]
