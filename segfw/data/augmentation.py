"""Random changes of training batches, and the targets made of their label maps.

Drawing and applying are apart: `draw` turns one generator per sample into plain arrays on the host, `apply` is batched
torch on any device and takes no decision of its own, so that a batch can be replayed and a sample does not depend on
its neighbors. Order, ranges and probabilities: nnU-Net's, see `AugmentationSettings`. Rotation, scaling and shift
happen earlier, when the patch is read (`segfw.data.spatial`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration
from segfw.core.settings.training import AugmentationSettings
from segfw.core.types import BoolArray, FloatArray
from segfw.data import intensity
from segfw.data.randomness import sample_generators
from segfw.data.spatial import is_dummy_2d


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows that a transform changes, as flat indices b * C + c (n,), and its parameter for each (n, ...)."""

    rows: NDArray[np.int64]
    values: FloatArray


@dataclass(frozen=True, eq=False)
class AugmentationDraw:
    """Everything random of one batch. `noise_seeds`: one per row of `noise`; `mirror`: (B, ndim).

    Values of `gradient`: its height, then center and width along each axis; of `blank`: how many boxes, then extent and
    place of `intensity.MOST_BOXES` boxes along each axis; all but the height as shares.
    """

    noise: Selection
    noise_seeds: NDArray[np.int64]
    blur: Selection
    brightness: Selection
    contrast: Selection
    low_resolution: Selection
    gamma_inverted: Selection
    gamma: Selection
    mirror: BoolArray
    offset: Selection
    gradient: Selection
    sharpening: Selection
    blank: Selection


@dataclass(frozen=True)
class Augmentation:
    """Intensity transforms, mirroring and masking of batches (B, C, *F) with label maps (B, 1, *F).

    `masked_channels` are set to 0 where the label is -1; `keep_first_axis`: low resolution is simulated in plane only.
    """

    settings: AugmentationSettings
    mirror_axes: tuple[int, ...]
    masked_channels: tuple[int, ...] = ()
    keep_first_axis: bool = False

    def __call__(
        self, image: Tensor, label: Tensor, generators: Sequence[np.random.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Return the changed batch; one generator per sample. The arguments are left as they are."""
        return self.apply(image, label, self.draw(generators, image.shape[1], image.ndim - 2))

    def draw(self, generators: Sequence[np.random.Generator], num_channels: int, ndim: int) -> AugmentationDraw:
        """Draw the parameters of one batch, from as many numbers of each generator whatever the settings."""
        s, c = self.settings, num_channels
        boxes = 1 + intensity.MOST_BOXES * 2 * ndim
        count = 9 + ndim + c * (12 + ndim) + 4 + c * (8 + 2 * ndim + boxes)
        columns = _Columns(np.stack([rng.random(count) for rng in generators]))
        noise_on = columns.take(1) < s.noise_probability
        noise = _select(noise_on.repeat(c, 1), _uniform(columns.take(1), s.noise_range).repeat(c, 1))
        seeds = (columns.take(c) * 2**53).astype(np.int64).reshape(-1)[noise.rows]
        blur_on = (columns.take(1) < s.blur_probability) & (columns.take(c) < s.blur_channel_probability)
        blur = _select(blur_on, _uniform(columns.take(c * ndim), s.blur_range).reshape(-1, c, ndim))
        brightness = self._draw_factor(columns, s.brightness_probability, s.brightness_range, c)
        contrast = self._draw_factor(columns, s.contrast_probability, s.contrast_range, c)
        low_on = columns.take(1) < s.low_resolution_probability
        low_on = low_on & (columns.take(c) < s.low_resolution_channel_probability)
        low = _select(low_on, _uniform(columns.take(c), s.low_resolution_range))
        gamma_inverted = self._draw_factor(columns, s.gamma_inverted_probability, s.gamma_range, c)
        gamma = self._draw_factor(columns, s.gamma_probability, s.gamma_range, c)
        mirror = (columns.take(ndim) < 0.5) & np.isin(np.arange(ndim), self.mirror_axes)
        offset = self._draw_rows(columns, s.offset_probability, s.offset_channel_probability, c, 1)
        offset = replace(
            offset, values=(ndtri(offset.values[:, 0].clip(1e-6, 1 - 1e-6)) * s.offset_deviation).astype(np.float32)
        )
        gradient = self._draw_rows(columns, s.gradient_probability, s.gradient_channel_probability, c, 2 + 2 * ndim)
        sign, height = np.sign(gradient.values[:, :1] - 0.5), _uniform(gradient.values[:, 1:2], s.gradient_range)
        gradient = replace(gradient, values=np.concatenate([sign * height, gradient.values[:, 2:]], 1))
        sharpening = self._draw_rows(columns, s.sharpening_probability, s.sharpening_channel_probability, c, 1)
        sharpening = replace(sharpening, values=_uniform(sharpening.values[:, 0], s.sharpening_range))
        blank = self._draw_rows(columns, s.blank_probability, s.blank_channel_probability, c, boxes)
        return AugmentationDraw(
            noise, seeds, blur, brightness, contrast, low, gamma_inverted, gamma, mirror,
            offset, gradient, sharpening, blank,
        )  # fmt: skip

    def _draw_rows(
        self, columns: "_Columns", probability: float, channel_probability: float, num_channels: int, count: int
    ) -> Selection:
        """Choose rows; their values are `count` uniform numbers each."""
        on = (columns.take(1) < probability) & (columns.take(num_channels) < channel_probability)
        return _select(on, columns.take(num_channels * count).reshape(len(on), num_channels, count))

    def _draw_factor(
        self, columns: "_Columns", probability: float, limits: tuple[float, float], num_channels: int
    ) -> Selection:
        on = columns.take(1) < probability
        return _select(
            on.repeat(num_channels, 1), _balanced(columns.take(num_channels), columns.take(num_channels), limits)
        )

    def apply(self, image: Tensor, label: Tensor, draw: AugmentationDraw) -> tuple[Tensor, Tensor]:
        """Return the batch as `draw` wants it. The arguments are left as they are."""
        image = image.clone(memory_format=torch.contiguous_format)  # so that planes are a view of it
        planes = image.flatten(0, 1)
        _change(planes, draw.noise, lambda x, sigma: intensity.add_noise(x, sigma, draw.noise_seeds.tolist()))
        _change(planes, draw.blur, lambda x, _: intensity.blur(x, draw.blur.values))
        _change(planes, draw.brightness, intensity.scale_brightness)
        _change(planes, draw.offset, intensity.add_offset)
        _change(planes, draw.contrast, intensity.scale_contrast)
        zoom = draw.low_resolution.values.tolist()
        _change(planes, draw.low_resolution, lambda x, _: intensity.lower_resolution(x, zoom, self.keep_first_axis))
        _change(planes, draw.gamma_inverted, lambda x, exponent: intensity.change_gamma(x.neg(), exponent).neg_())
        _change(planes, draw.gamma, intensity.change_gamma)
        _change(planes, draw.gradient, lambda x, _: intensity.add_gradient(x, draw.gradient.values))
        _change(planes, draw.sharpening, intensity.sharpen)
        edges = self.settings.blank_range
        _change(planes, draw.blank, lambda x, _: intensity.blank_boxes(x, draw.blank.values, edges))
        image, label = mirror(image, draw.mirror), mirror(label, draw.mirror)
        for channel in self.masked_channels:
            image[:, channel].masked_fill_(label[:, 0] < 0, 0)
        return image, label


def augment(
    augmentation: Augmentation, image: Tensor, label: Tensor, seed: int, epoch: int, indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Augment a training batch as its run's seed, epoch and the samples' numbers say, wherever the batch lies."""
    return augmentation(image, label, sample_generators(seed, "augmentation", epoch, indices))


def build_augmentation(settings: AugmentationSettings, configuration: Configuration) -> Augmentation:
    """Build the augmentation of training batches of `configuration`."""
    masked = tuple(channel for channel, use in enumerate(configuration.use_mask_for_norm) if use)
    axes = mirror_axes(settings, len(configuration.patch_size))
    return Augmentation(settings, axes, masked, is_dummy_2d(configuration.patch_size, settings))


def mirror_axes(settings: AugmentationSettings, ndim: int) -> tuple[int, ...]:
    """Return the axes mirrored in training and in prediction; `UsageError` for an axis that patches do not have."""
    if settings.mirror_axes is None:
        return tuple(range(ndim))
    if isinstance(settings.mirror_axes, str):
        raise UsageError(
            f"augmentation.mirror_axes={settings.mirror_axes} is found from the training cases when a training starts; "
            "give a list of axes here, or null for all"
        )
    if any(not 0 <= axis < ndim for axis in settings.mirror_axes):
        raise UsageError(
            f"augmentation.mirror_axes must be among {list(range(ndim))}, got {list(settings.mirror_axes)}"
        )
    return tuple(sorted(set(settings.mirror_axes)))


def mirror(batch: Tensor, flips: BoolArray) -> Tensor:
    """Flip each sample of (B, C, *F) along the axes that `flips` (B, ndim) names; one copy per combination."""
    combinations, which = np.unique(flips, axis=0, return_inverse=True)
    if not combinations.any():
        return batch
    out = torch.empty_like(batch)
    for number, combination in enumerate(combinations):
        rows = _to_device(np.flatnonzero(which.reshape(-1) == number), batch)
        axes = [2 + int(axis) for axis in np.flatnonzero(combination)]
        out.index_copy_(0, rows, batch.index_select(0, rows).flip(axes))
    return out


def encode_target(label: Tensor, labels: LabelSet) -> Tensor:
    """Turn label maps (B, 1, *F) into what losses take; -1 (outside) counts as background.

    Labels: (B, 1, *F) int64 with the ignore value kept. Regions: (B, R, *F) bool, one channel per region, and with an
    ignore label a last channel that is true where it stands.
    """
    if not labels.has_regions:
        return label.clamp(min=0).to(torch.int64)
    keys = [key for _, key in labels.foreground]
    if labels.ignore_value is not None:
        keys.append((labels.ignore_value,))
    return torch.cat([torch.stack([label == value for value in key]).any(0) for key in keys], dim=1)


class _Columns:
    """Uniform numbers (B, K) handed out from left to right."""

    def __init__(self, numbers: FloatArray) -> None:
        self._numbers, self._next = numbers, 0

    def take(self, count: int) -> FloatArray:
        self._next += count
        return self._numbers[:, self._next - count : self._next]


def _uniform(numbers: FloatArray, limits: tuple[float, float]) -> FloatArray:
    return limits[0] + numbers * (limits[1] - limits[0])


def _balanced(coins: FloatArray, numbers: FloatArray, limits: tuple[float, float]) -> FloatArray:
    """Draw below 1 and above 1 equally often, however far the limits reach on either side."""
    low, high = limits
    if not low < 1 < high:
        return _uniform(numbers, limits)
    return np.where(coins < 0.5, _uniform(numbers, (low, 1)), _uniform(numbers, (1, high)))


def _select(on: BoolArray, values: FloatArray) -> Selection:
    """Keep the rows (B, C) that are on, and their values (B, C, ...)."""
    rows = np.flatnonzero(on)
    return Selection(rows, values.reshape(on.size, *values.shape[2:])[rows].astype(np.float32))


def _change(planes: Tensor, selection: Selection, transform: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replace the selected rows of `planes` by what `transform` makes of them and their values."""
    if len(selection.rows):
        rows = _to_device(selection.rows, planes)
        changed = transform(planes.index_select(0, rows), _to_device(selection.values, planes))
        planes.index_copy_(0, rows, changed)


def _to_device(array: NDArray[np.generic], like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device, non_blocking=True)
