"""What is drawn how often, that applying is deterministic, and that image and label stay together."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration
from segfw.core.training_settings import AugmentationSettings
from segfw.data.augmentation import (
    Augmentation,
    AugmentationDraw,
    build_augmentation,
    encode_target,
    mirror,
    mirror_axes,
)
from segfw.data.randomness import sample_generators

PROBABILITIES = [
    f.name
    for f in dataclasses.fields(AugmentationSettings)
    if f.name.endswith("_probability") and "channel" not in f.name
]
OFF = AugmentationSettings(**dict.fromkeys(PROBABILITIES, 0.0))
TRANSFORMS = ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma")


@functools.cache
def draw_many(settings: AugmentationSettings, batch: int = 4000, channels: int = 2) -> AugmentationDraw:
    augmentation = Augmentation(settings, (0, 1, 2))
    return augmentation.draw(sample_generators(0, "test", 0, range(batch)), channels, 3)


def make_batch(shape: tuple[int, ...] = (4, 2, 6, 7, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(*shape, generator=generator)
    label = torch.randint(-1, 3, (shape[0], 1, *shape[2:]), generator=generator).to(torch.int16)
    return image, label


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
    ],
)
def test_frequencies(name: str, share: float) -> None:
    rows = getattr(draw_many(AugmentationSettings()), name).rows
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
        count = 9 + ndim + channels * (12 + ndim)
        assert rng.random() == np.random.default_rng(0).random(count + 1)[-1]


def test_zero_probability_is_the_identity() -> None:
    image, label = make_batch()
    got = Augmentation(OFF, ())(image, label, sample_generators(0, "x", 0, range(4)))
    assert torch.equal(got[0], image)
    assert torch.equal(got[1], label)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(4, 2, 6, 7, 8), (4, 2, 9, 8)])
def test_each_transform_changes_the_image_only(name: str, shape: tuple[int, ...]) -> None:
    image, label = make_batch(shape)
    before = image.clone()
    settings = dataclasses.replace(
        OFF,
        **{f"{name}_probability": 1.0},
        blur_channel_probability=1.0,
        low_resolution_channel_probability=1.0,
        low_resolution_range=(0.5, 0.6),
    )
    got_image, got_label = Augmentation(settings, ())(image, label, sample_generators(0, "x", 0, range(4)))
    assert (got_image != before).flatten(2).any(2).all()
    assert torch.isfinite(got_image).all()
    assert torch.equal(got_label, label)
    assert torch.equal(image, before)


def test_results_do_not_depend_on_batch_grouping() -> None:
    image, label = make_batch((6, 2, 6, 7, 8))
    augmentation = Augmentation(AugmentationSettings(noise_probability=0.5, blur_probability=0.5), (0, 1, 2))
    together = augmentation(image, label, sample_generators(0, "x", 1, range(6)))
    for index in range(6):
        part = slice(index, index + 1)
        alone = augmentation(image[part], label[part], sample_generators(0, "x", 1, [index]))
        torch.testing.assert_close(alone[0], together[0][part])
        assert torch.equal(alone[1], together[1][part])


def test_memory_layout_does_not_matter() -> None:
    image, label = make_batch()
    augmentation = Augmentation(AugmentationSettings(gamma_probability=1), (0, 1, 2))
    draw = augmentation.draw(sample_generators(0, "x", 1, range(4)), 2, 3)
    last = image.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(augmentation.apply(image, label, draw)[0], augmentation.apply(last, label, draw)[0])


def test_a_draw_can_be_replayed() -> None:
    image, label = make_batch()
    augmentation = Augmentation(AugmentationSettings(), (0, 1, 2))
    draw = augmentation.draw(sample_generators(0, "x", 1, range(4)), 2, 3)
    assert torch.equal(augmentation.apply(image, label, draw)[0], augmentation.apply(image, label, draw)[0])


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=4, max_size=4))
def test_mirrored_twice_is_the_identity(flips: list[tuple[bool, bool, bool]]) -> None:
    image, _ = make_batch()
    once = mirror(image, np.array(flips))
    assert torch.equal(mirror(once, np.array(flips)), image)
    for row, axes in enumerate(flips):
        expected = np.flip(image[row].numpy(), [1 + axis for axis in range(3) if axes[axis]])
        np.testing.assert_array_equal(once[row], expected)


def test_image_and_label_are_mirrored_together() -> None:
    _, label = make_batch()
    image = label.float()
    for epoch in range(5):
        got = Augmentation(OFF, (0, 1, 2))(image, label, sample_generators(0, "x", epoch, range(4)))
        assert torch.equal(got[0], got[1].float())


def test_masked_channels_are_zero_outside() -> None:
    image, label = make_batch()
    got, got_label = Augmentation(OFF, (0,), masked_channels=(1,))(image, label, sample_generators(0, "x", 0, range(4)))
    outside = got_label[:, 0] < 0
    assert (got[:, 1][outside] == 0).all()
    assert (got[:, 1][~outside] != 0).all()
    assert (got[:, 0][outside] != 0).all()


def make_configuration(patch_size: tuple[int, ...]) -> Configuration:
    ones = (1,) * len(patch_size)
    return Configuration(
        ones, patch_size, 2, patch_size, "unet", (8,), (ones,), (ones,), (2,), (),
        ("zscore", "nonorm"), (True, False), False,
    )  # fmt: skip


def test_build_from_a_configuration() -> None:
    built = build_augmentation(AugmentationSettings(), make_configuration((4, 16, 16)))
    assert built == Augmentation(AugmentationSettings(), (0, 1, 2), (0,), True)
    flat = build_augmentation(AugmentationSettings(mirror_axes=(1,)), make_configuration((16, 16)))
    assert (flat.mirror_axes, flat.keep_first_axis) == ((1,), False)


def test_mirror_axes_rule() -> None:
    assert mirror_axes(AugmentationSettings(), 2) == (0, 1)
    assert mirror_axes(AugmentationSettings(mirror_axes=()), 3) == ()
    with pytest.raises(UsageError, match=r"among \[0, 1\], got \[2\]"):
        mirror_axes(AugmentationSettings(mirror_axes=(2,)), 2)


def test_target_of_labels() -> None:
    labels = LabelSet({"background": 0, "a": 1, "ignore": 2})
    target = encode_target(torch.tensor([[[-1, 0, 1, 2]]], dtype=torch.int16), labels)
    assert target.tolist() == [[[0, 0, 1, 2]]]
    assert target.dtype == torch.int64


def test_target_of_regions() -> None:
    values = {"background": 0, "whole": (1, 2), "core": 2}
    label = torch.tensor([[[-1, 0, 1, 2, 3]]], dtype=torch.int16)
    target = encode_target(label, LabelSet({**values, "ignore": 3}, (1, 2)))
    assert target.int().tolist() == [[[0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]]
    assert target.dtype == torch.bool
    assert encode_target(label[..., :4], LabelSet(values, (1, 2))).shape == (1, 2, 4)
