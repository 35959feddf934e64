"""How much GPU memory a network needs in training, in the planner's own unit: values held in feature maps, per sample.

nnU-Net v2 calibrates this count against real networks (a reference count fits a reference amount of memory), so only
ratios matter. The number of input channels and deep supervision do not enter.
"""

import math
from collections.abc import Sequence

from segfw.core.plan import Configuration
from segfw.core.types import Shape


def memory_estimate(
    patch_size: Shape,
    strides: Sequence[Shape],
    features: Sequence[int],
    encoder_counts: Sequence[int],
    decoder_counts: Sequence[int],
    num_outputs: int,
    architecture: str,
) -> int:
    """Count the values of all feature maps of one patch.

    `encoder_counts`: convolutions (unet) or residual blocks (residual_unet) per stage; `num_outputs`: entries of the
    dataset's labels, background, ignore and regions included. A network of one stage counts no output: the reference
    has its heads in the decoder, of which nothing is left then.
    """
    voxels = stage_voxels(patch_size, strides)
    if architecture == "residual_unet":
        encoder = _residual_encoder(voxels, strides, features, encoder_counts)
    else:
        encoder = sum(count * f * v for count, f, v in zip(encoder_counts, features, voxels, strict=True))
    if not decoder_counts:
        return encoder
    decoder = sum((count + 1) * f * v for count, f, v in zip(decoder_counts, features, voxels, strict=False))
    return encoder + decoder + num_outputs * voxels[0]


def configuration_memory(configuration: Configuration, num_outputs: int) -> int:
    """Count the values of all feature maps of one patch of `configuration`."""
    return memory_estimate(
        configuration.patch_size,
        configuration.strides,
        configuration.features_per_stage,
        configuration.n_conv_per_stage,
        configuration.n_conv_per_stage_decoder,
        num_outputs,
        configuration.architecture,
    )


def stage_voxels(patch_size: Shape, strides: Sequence[Shape]) -> list[int]:
    """Count the voxels of a feature map at each stage."""
    return [math.prod(size) for size in stage_sizes(patch_size, strides)]


def stage_sizes(patch_size: Shape, strides: Sequence[Shape]) -> list[Shape]:
    """Return the extent of the feature maps of each stage, from the patch down."""
    sizes, size = [], patch_size
    for row in strides:
        size = tuple(edge // step for edge, step in zip(size, row, strict=True))
        sizes.append(size)
    return sizes


def _residual_encoder(
    voxels: Sequence[int], strides: Sequence[Shape], features: Sequence[int], blocks: Sequence[int]
) -> int:
    """Count the stem, two convolutions per block, and one map wherever the shortcut is no identity."""
    total = features[0] * voxels[0]
    inputs = features[0]
    for v, row, f, count in zip(voxels, strides, features, blocks, strict=True):
        shortcut = f != inputs or any(step != 1 for step in row)
        total += (2 * count + shortcut) * f * v
        inputs = f
    return total
