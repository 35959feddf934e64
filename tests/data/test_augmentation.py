"""That augmentation is in the published order, repeats itself, and keeps image and label together."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration
from segfw.core.settings.training import AugmentationSettings
from segfw.data import augmentation as augmentation_module
from segfw.data import intensity
from segfw.data.augmentation import Augmentation, augment, build_augmentation, encode_target, mirror, mirror_axes
from segfw.data.randomness import sample_generators
from tests.data.transforms import STRONG, TRANSFORMS

PROBABILITIES = [
    f.name
    for f in dataclasses.fields(AugmentationSettings)
    if f.name.endswith("_probability") and "channel" not in f.name
]
OFF = AugmentationSettings(**dict.fromkeys(PROBABILITIES, 0.0))


def make_batch(shape: tuple[int, ...] = (4, 2, 6, 7, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(*shape, generator=generator)
    label = torch.randint(-1, 3, (shape[0], 1, *shape[2:]), generator=generator).to(torch.int16)
    return image, label


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
    inverted = Augmentation(dataclasses.replace(OFF, gamma_inverted_probability=1.0), ())
    draw = inverted.draw(sample_generators(0, "x", 0, [0]), 1, 2)
    got = inverted.apply(row, torch.zeros(1, 1, 1, 3), draw)[0]
    exponent = torch.from_numpy(draw.gamma_inverted.values)
    torch.testing.assert_close(got[0], -intensity.change_gamma(-row[0], exponent))


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
    in_every_channel = {f"{each}_channel_probability": 1.0 for each in ("blur", "low_resolution", *STRONG)}
    chosen = {f"{name}_probability": 1.0, "low_resolution_range": (0.5, 0.6)}
    settings = dataclasses.replace(OFF, **in_every_channel, **chosen)
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
