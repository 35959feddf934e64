"""What is drawn how often, that applying is deterministic, and that image and label stay together."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration
from segfw.core.settings.training import AugmentationSettings
from segfw.data import augmentation as augmentation_module
from segfw.data import intensity
from segfw.data.augmentation import (
    Augmentation,
    AugmentationDraw,
    augment,
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
STRONG = ("offset", "gradient", "sharpening", "blank")


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
    settings = AugmentationSettings(
        **dict.fromkeys((f"{name}_probability" for name in STRONG), 1.0)  # type: ignore[arg-type]
    )
    draw = draw_many(settings)
    assert kstest(draw.offset.values, "norm", (0, 0.5)).pvalue > 1e-4
    assert kstest(draw.sharpening.values, "uniform", (0.1, 0.9)).pvalue > 1e-4
    height = draw.gradient.values[:, 0]
    assert abs((height > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(height))
    assert kstest(abs(height), "uniform", (1, 4)).pvalue > 1e-4
    for column in range(1, 7):
        assert kstest(draw.gradient.values[:, column], "uniform").pvalue > 1e-4


def test_strong_transforms_leave_the_draws_of_the_others_alone() -> None:
    strong = AugmentationSettings(
        **dict.fromkeys((f"{name}_probability" for name in STRONG), 1.0)  # type: ignore[arg-type]
    )
    one, two = draw_many(AugmentationSettings()), draw_many(strong)
    for name in TRANSFORMS:
        np.testing.assert_array_equal(getattr(one, name).values, getattr(two, name).values)
    np.testing.assert_array_equal(one.mirror, two.mirror)


def test_transforms_are_applied_in_the_published_order(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    names = (
        "add_noise", "blur", "scale_brightness", "add_offset", "scale_contrast", "lower_resolution", "change_gamma",
        "add_gradient", "sharpen", "blank_boxes",
    )  # fmt: skip
    for name in names:
        plain = getattr(intensity, name)
        recorded = lambda planes, *rest, name=name, plain=plain: (calls.append(name), plain(planes, *rest))[1]  # noqa: E731
        monkeypatch.setattr(augmentation_module.intensity, name, recorded)
    everything = AugmentationSettings(**dict.fromkeys(PROBABILITIES, 1.0))  # type: ignore[arg-type]
    image, label = make_batch()
    Augmentation(everything, ())(image, label, sample_generators(0, "x", 0, range(4)))
    expected = [*names[:7], "change_gamma", "add_gradient", "sharpen", "blur", "blank_boxes"]  # sharpening blurs
    assert calls == expected


def test_gamma_is_inverted_first() -> None:
    row = torch.tensor([[[[1.0, 2.0, 5.0]]]])
    draw = draw_many(AugmentationSettings(gamma_inverted_probability=1, gamma_probability=0, noise_probability=0), 1, 1)
    only = dataclasses.replace(
        Augmentation(OFF, ()).draw(sample_generators(0, "x", 0, [0]), 1, 2), gamma_inverted=draw.gamma_inverted
    )
    got = Augmentation(OFF, ()).apply(row, torch.zeros(1, 1, 1, 3), only)[0]
    exponent = torch.from_numpy(draw.gamma_inverted.values)
    torch.testing.assert_close(got[0], -intensity.change_gamma(-row[0], exponent))


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


def test_zero_probability_is_the_identity() -> None:
    image, label = make_batch()
    got = Augmentation(OFF, ())(image, label, sample_generators(0, "x", 0, range(4)))
    assert torch.equal(got[0], image)
    assert torch.equal(got[1], label)


@pytest.mark.parametrize("name", [*TRANSFORMS, *STRONG])
@pytest.mark.parametrize("shape", [(4, 2, 6, 7, 8), (4, 2, 9, 8)])
def test_each_transform_changes_the_image_only(name: str, shape: tuple[int, ...]) -> None:
    image, label = make_batch(shape)
    before = image.clone()
    settings = dataclasses.replace(
        OFF,
        **{f"{name}_probability": 1.0},
        blur_channel_probability=1.0,
        low_resolution_channel_probability=1.0,
        **{f"{strong}_channel_probability": 1.0 for strong in STRONG},
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


def test_augmented_by_the_samples_numbers() -> None:
    image, label = make_batch()
    augmentation = Augmentation(AugmentationSettings(gamma_probability=1), (0, 1, 2))
    got = augment(augmentation, image, label, 3, 1, [4, 5, 6, 7])
    want = augmentation(image, label, sample_generators(3, "augmentation", 1, [4, 5, 6, 7]))
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


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
