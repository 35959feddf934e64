"""What a network costs: parameters and arithmetic, counted layer by layer without building it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from segfw.core.plan import Configuration
from segfw.core.planning.memory import stage_voxels
from segfw.core.planning.topology import widened_kernel
from segfw.core.settings.training import TrainerSettings
from segfw.core.types import Shape

PASSES = 3
"""A training step costs about three forward passes: forward, and backward to weights and to inputs."""


@dataclass(frozen=True)
class _Convolution:
    """One convolution and the normalization behind it. `voxels`: of its output; `kernel_voxels`: of its kernel.

    A transposed convolution whose stride equals its kernel computes each output voxel from one input voxel: `taps` is
    1.
    """

    inputs: int
    outputs: int
    voxels: int
    kernel_voxels: int
    taps: int
    bias: bool = True
    normalized: bool = True
    prelu: bool = False

    @property
    def parameters(self) -> int:
        """Weights, biases, the normalization's scale and shift, and PReLU's slopes."""
        return self.outputs * (self.inputs * self.kernel_voxels + self.bias + 2 * self.normalized + self.prelu)

    @property
    def flops(self) -> int:
        """Two operations per multiply-add; biases and normalization are not counted."""
        return 2 * self.voxels * self.inputs * self.outputs * self.taps


def forward_flops(configuration: Configuration, num_channels: int, num_heads: int) -> float:
    """Count the operations of one forward pass over a training batch, all deep-supervision heads included.

    A multiply-add counts as two; a training step costs about three times as much. `num_channels`: network inputs.
    """
    per_sample = sum(layer.flops for layer in _layers(configuration, num_channels, num_heads))
    return float(configuration.batch_size * per_sample)


def parameter_count(configuration: Configuration, num_channels: int, num_heads: int) -> int:
    """Count the learned values of the network, all deep-supervision heads included."""
    return sum(layer.parameters for layer in _layers(configuration, num_channels, num_heads))


def training_flops(forward: float, trainer: TrainerSettings, val_batches: int) -> float:
    """Count the operations of training one fold, on-line validation (`val_batches` per epoch) included.

    `forward`: those of one forward pass over a batch.
    """
    passes = PASSES * trainer.limit_train_batches + val_batches / trainer.check_val_every_n_epoch
    return trainer.max_epochs * passes * forward


def _layers(configuration: Configuration, num_channels: int, num_heads: int) -> Iterator[_Convolution]:
    voxels = stage_voxels(configuration.patch_size, configuration.strides)
    if configuration.architecture == "residual_unet":
        yield from _residual_encoder(configuration, num_channels, voxels)
    elif configuration.architecture == "vnet":
        yield from _vnet_encoder(configuration, num_channels, voxels)
    else:
        yield from _plain_encoder(configuration, num_channels, voxels)
    if configuration.architecture == "unet_plus_plus":
        yield from _nested_nodes(configuration, num_heads, voxels)
    else:
        yield from _decoder(configuration, num_heads, voxels)


def _convolution(inputs: int, outputs: int, voxels: int, kernel: Shape) -> _Convolution:
    taps = math.prod(kernel)
    return _Convolution(inputs, outputs, voxels, taps, taps)


def _encoder_stages(configuration: Configuration, voxels: list[int]) -> Iterator[tuple[int, int, Shape, int]]:
    """Yield voxels, features, kernel and number of convolutions or blocks of each encoder stage."""
    kernels, counts = configuration.kernel_sizes, configuration.n_conv_per_stage
    yield from zip(voxels, configuration.features_per_stage, kernels, counts, strict=True)


def _plain_encoder(configuration: Configuration, num_channels: int, voxels: list[int]) -> Iterator[_Convolution]:
    inputs = num_channels
    for size, features, kernel, count in _encoder_stages(configuration, voxels):
        for _ in range(count):
            yield _convolution(inputs, features, size, kernel)
            inputs = features


def _residual_encoder(configuration: Configuration, num_channels: int, voxels: list[int]) -> Iterator[_Convolution]:
    """List stem and blocks; a shortcut is projected (1x1, without bias) where the number of features changes."""
    inputs = configuration.features_per_stage[0]
    yield _convolution(num_channels, inputs, voxels[0], configuration.kernel_sizes[0])
    for size, features, kernel, blocks in _encoder_stages(configuration, voxels):
        for _ in range(blocks):
            yield _convolution(inputs, features, size, kernel)
            yield _convolution(features, features, size, kernel)
            if inputs != features:
                yield _Convolution(inputs, features, size, kernel_voxels=1, taps=1, bias=False)
            inputs = features


def _vnet_encoder(configuration: Configuration, num_channels: int, voxels: list[int]) -> Iterator[_Convolution]:
    """List strided convolutions, whose kernel is their stride, and stages."""
    inputs = num_channels
    for stage, (size, features, kernel, count) in enumerate(_encoder_stages(configuration, voxels)):
        if stage:
            taps = math.prod(configuration.strides[stage])
            yield _Convolution(inputs, features, size, taps, taps, prelu=True)
            inputs = features
        yield from _vnet_stage(count, inputs, features, size, kernel)
        inputs = features


def _vnet_stage(count: int, inputs: int, features: int, size: int, kernel: Shape) -> Iterator[_Convolution]:
    """List the convolutions of a V-Net stage and, where the width changes, the projection of its input."""
    taps = math.prod(widened_kernel(kernel))
    for number in range(count):
        yield _Convolution(features if number else inputs, features, size, taps, taps, prelu=True)
    if inputs != features:
        yield _Convolution(inputs, features, size, kernel_voxels=1, taps=1, normalized=False)


def _nested_nodes(configuration: Configuration, num_heads: int, voxels: list[int]) -> Iterator[_Convolution]:
    """List the nodes of UNet++: column j of a level joins j nodes of its own with the enlarged one below."""
    features, depth = configuration.features_per_stage, len(configuration.features_per_stage) - 1
    for level in range(depth):
        count, stride = configuration.n_conv_per_stage_decoder[depth - 1 - level], configuration.strides[level + 1]
        width, size = features[level], voxels[level]
        for column in range(1, depth - level + 1):
            yield _Convolution(features[level + 1], width, size, math.prod(stride), taps=1, normalized=False)
            inputs = (column + 1) * width
            for _ in range(count):
                yield _convolution(inputs, width, size, configuration.kernel_sizes[level])
                inputs = width
    for _ in range(max(1, depth)):
        yield _head(features[0], num_heads, voxels[0])


def _decoder(configuration: Configuration, num_heads: int, voxels: list[int]) -> Iterator[_Convolution]:
    """List the decoder from the bottleneck up: upsampling, convolutions on it joined with the skip, head."""
    features, vnet = configuration.features_per_stage, configuration.architecture == "vnet"
    for step, count in enumerate(configuration.n_conv_per_stage_decoder):
        level = len(features) - 2 - step
        stride = math.prod(configuration.strides[level + 1])
        width, size, kernel = features[level], voxels[level], configuration.kernel_sizes[level]
        yield _Convolution(features[level + 1], width, size, stride, taps=1, normalized=vnet, prelu=vnet)
        if vnet:
            yield from _vnet_stage(count, 2 * width, width, size, kernel)
        for number in range(0 if vnet else count):
            yield _convolution(width if number else 2 * width, width, size, kernel)
        yield _head(width, num_heads, size)
    if len(features) == 1:
        yield _head(features[0], num_heads, voxels[0])


def _head(inputs: int, num_heads: int, voxels: int) -> _Convolution:
    return _Convolution(inputs, num_heads, voxels, kernel_voxels=1, taps=1, normalized=False)
