"""How much GPU memory a network needs in training, in the planner's own unit: values held in feature maps, per sample.

nnU-Net v2 calibrates this count against real networks (a reference count fits a reference amount of memory), so only
ratios matter. The number of input channels and deep supervision do not enter.

For its two networks the count is nnU-Net's: one per convolution's output, one per joined pair. Autograd keeps twice as
many values (a convolution's output for the norm, the activation's for what follows), which the tests hold for every
network; so those that nnU-Net does not know are counted in the same unit, half the values that are kept.
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

    `encoder_counts`: convolutions, or residual blocks (residual_unet), per stage; `num_outputs`: entries of the
    dataset's labels, background, ignore and regions included. A network of one stage counts no output: the reference
    has its heads in the decoder, of which nothing is left then.
    """
    voxels = stage_voxels(patch_size, strides)
    maps = [f * v for f, v in zip(features, voxels, strict=True)]
    if architecture == "residual_unet":
        encoder = _residual_encoder(voxels, strides, features, encoder_counts)
    else:
        encoder = sum(count * m for count, m in zip(encoder_counts, maps, strict=True))
    if architecture == "vnet":
        encoder = (3 * encoder + 3 * sum(maps[1:])) // 2
    elif architecture == "bayesian_unet":
        encoder += sum(maps) // 2
    if not decoder_counts:
        return encoder
    if architecture == "unet_plus_plus":
        return encoder + _nested(maps, decoder_counts) + num_outputs * voxels[0] * len(decoder_counts)
    # nnU-Net pairs the decoder's counts, which begin at the bottom, with the stages from the top
    decoder = sum(_joined(count, architecture) * m for count, m in zip(decoder_counts, maps, strict=False)) // 2
    return encoder + decoder + num_outputs * voxels[0]


def _joined(count: int, architecture: str) -> int:
    """Count twice the maps of a decoder stage of `count` convolutions: joined (two), convolved (two each), and more.

    V-Net's PReLU keeps its input as well, here and after upsampling; dropout keeps its output.
    """
    if architecture == "vnet":
        return 3 * count + 4
    return 2 * count + 2 + (architecture == "bayesian_unet")


def _nested(maps: Sequence[int], decoder_counts: Sequence[int]) -> int:
    """Count the nodes of UNet++: in column j of a level, j + 1 maps are joined (half a unit each) and convolved."""
    depth = len(decoder_counts)
    levels = zip(reversed(decoder_counts), maps[:-1], range(depth, 0, -1), strict=True)
    return sum((2 * count + j + 1) * m for count, m, columns in levels for j in range(1, columns + 1)) // 2


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
