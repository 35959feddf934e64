"""The plan: what the rules decided for a dataset, as values that people read and edit.

Names are nnU-Net's. Spatial entries follow the planned axis order (`Plan.transpose_forward` applied to (Z, Y, X)).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from segfw.core.errors import UsageError
from segfw.core.labels import LabelSet
from segfw.core.support.conversion import nearest
from segfw.core.types import Shape, Spacing

NORMALIZATIONS = ("ct", "zscore", "nonorm", "rescale_to_0_1", "rgb_to_0_1")
ARCHITECTURES = ("unet", "residual_unet", "vnet", "unet_plus_plus", "bayesian_unet")
"""Networks that can be built on a planned topology; the planners themselves choose among the first two."""


@dataclass(frozen=True)
class IntensityStatistics:
    """Statistics of one channel's foreground voxels over the dataset, in the image's own units."""

    mean: float
    median: float
    std: float
    min: float
    max: float
    percentile_99_5: float
    percentile_00_5: float


@dataclass(frozen=True)
class Fingerprint:
    """What planning needs to know of a dataset's images; one entry per case in `spacings` and `shapes_after_crop`.

    Spacings in millimetres and shapes in voxels, both (Z, Y, X). `cases` may be empty (a file of nnU-Net names none).
    """

    spacings: tuple[Spacing, ...]
    shapes_after_crop: tuple[Shape, ...]
    intensities: tuple[IntensityStatistics, ...]
    median_relative_size_after_cropping: float
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resampling:
    """Spline orders: images, label maps and probabilities in plane, and any of them across a coarse axis (`order_z`).

    `force_separate_z`: None follows the anisotropy rule, true or false overrule it.
    """

    order_image: int = 3
    order_label: int = 1
    order_probabilities: int = 1
    order_z: int = 0
    force_separate_z: bool | None = None


@dataclass(frozen=True)
class Configuration:
    """One network and the data it sees. Two spatial entries in `2d`, three elsewhere.

    `spacing` in millimetres; `median_image_size_in_voxels` after resampling; `kernel_sizes` and `strides` one row per
    stage, the first stride all ones; `n_conv_per_stage` counts convolutions, or residual blocks (`residual_unet`).
    `previous_stage` names the configuration whose segmentation is a further input.
    """

    spacing: Spacing
    patch_size: Shape
    batch_size: int
    median_image_size_in_voxels: tuple[float, ...]
    architecture: str
    features_per_stage: tuple[int, ...]
    kernel_sizes: tuple[Shape, ...]
    strides: tuple[Shape, ...]
    n_conv_per_stage: tuple[int, ...]
    n_conv_per_stage_decoder: tuple[int, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    batch_dice: bool
    resampling: Resampling = field(default_factory=Resampling)
    previous_stage: str | None = None
    next_stage: str | None = None

    def __post_init__(self) -> None:
        problems = [*self._wrong_values(), *self._wrong_numbers_of_entries()]
        if not problems:
            bad = [i for i, (n, d) in enumerate(zip(self.patch_size, self.divisor, strict=True)) if n < 1 or n % d]
            problems = [
                f"patch_size {self.patch_size} must be divisible by the product of the strides {self.divisor}; "
                f"axis {axis} has {self.patch_size[axis]}"
                for axis in bad[:1]
            ]
        if problems:
            raise UsageError("; ".join(problems))

    def _wrong_values(self) -> Iterator[str]:
        """Say which single values are impossible, each text beginning with its field."""
        if any(not (math.isfinite(s) and s > 0) for s in self.spacing):
            yield f"spacing must be positive and finite, got {self.spacing}"
        if self.batch_size < 1:
            yield f"batch_size must be at least 1, got {self.batch_size}"
        if self.architecture not in ARCHITECTURES:
            yield f"architecture must be one of {ARCHITECTURES}, got {self.architecture!r}"
        unknown = [scheme for scheme in self.normalization_schemes if scheme not in NORMALIZATIONS]
        if unknown:
            yield f"normalization_schemes must be among {NORMALIZATIONS}, got {unknown}"
        if any(step < 1 for row in self.strides for step in row):
            yield f"strides must be at least 1, got {self.strides}"

    def _wrong_numbers_of_entries(self) -> Iterator[str]:
        """Say which lists do not fit the number of axes or of stages, each text beginning with its field."""
        ndim, stages = len(self.spacing), len(self.strides)
        if ndim not in (2, 3):
            yield f"spacing needs 2 or 3 entries, got {self.spacing}"
        if len(self.patch_size) != ndim:
            yield f"patch_size needs {ndim} entries like spacing, got {self.patch_size}"
        if not stages:
            yield "strides needs one row for each of one or more stages, got none"
        for name, wanted in (
            ("features_per_stage", stages),
            ("kernel_sizes", stages),
            ("n_conv_per_stage", stages),
            ("n_conv_per_stage_decoder", max(stages - 1, 0)),
        ):
            if len(getattr(self, name)) != wanted:
                yield f"{name} needs {wanted} entries ({stages} stages), got {len(getattr(self, name))}"
        for name in ("strides", "kernel_sizes"):
            if any(len(row) != ndim for row in getattr(self, name)):
                yield f"{name} need {ndim} entries per stage, got {getattr(self, name)}"

    @property
    def is_2d(self) -> bool:
        """Whether the network sees slices."""
        return len(self.spacing) == 2

    @property
    def divisor(self) -> Shape:
        """Product of the strides per axis: what the patch must be a multiple of."""
        total = [1] * len(self.spacing)
        for row in self.strides:
            total = [a * b for a, b in zip(total, row, strict=True)]
        return tuple(total)


@dataclass(frozen=True)
class Plan:
    """Everything needed to preprocess, train and predict for a dataset, without the dataset.

    `transpose_forward[i]` is the image axis that becomes axis `i`; `transpose_backward` undoes it.
    `original_median_spacing_after_transp` and `original_median_shape_after_transp` describe the raw images in the
    planned axis order.
    """

    dataset_name: str
    planner: str
    channel_names: tuple[str, ...]
    labels: LabelSet
    original_median_spacing_after_transp: Spacing
    original_median_shape_after_transp: Shape
    transpose_forward: Shape
    transpose_backward: Shape
    intensities: tuple[IntensityStatistics, ...]
    configurations: dict[str, Configuration]

    def configuration(self, name: str) -> Configuration:
        """Return the configuration called `name`; `UsageError` lists those there are."""
        if name not in self.configurations:
            raise UsageError(
                f"the plan has no configuration {name!r}{nearest(name, self.configurations)}; "
                f"it has {sorted(self.configurations)}"
            )
        return self.configurations[name]

    def num_inputs(self, configuration: Configuration) -> int:
        """Return the channels that enter the network: the images, after a previous stage also one per label of it."""
        further = 0 if configuration.previous_stage is None else len(self.labels.foreground_values)
        return len(self.channel_names) + further

    def training_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the configurations `names` as they are, but each behind its previous stage."""
        ordered: dict[str, None] = {}
        waiting = list(names)
        for name in waiting:
            chain = [name]
            while (previous := self.configuration(chain[-1]).previous_stage) in waiting and previous is not None:
                chain.append(previous)
            ordered.update(dict.fromkeys(reversed(chain)))
        return tuple(ordered)
