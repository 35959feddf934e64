"""What a network costs: parameters and arithmetic, counted layer by layer without building it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from segfw.core.memory import stage_voxels
from segfw.core.plan import Configuration
from segfw.core.settings import TrainerSettings
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

    @property
    def parameters(self) -> int:
        """Weights, biases, and the normalization's scale and shift."""
        return self.outputs * (self.inputs * self.kernel_voxels + self.bias + 2 * self.normalized)

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


def training_flops(
    configuration: Configuration, num_channels: int, num_heads: int, trainer: TrainerSettings, val_batches: int
) -> float:
    """Count the operations of training one fold, on-line validation (`val_batches` per epoch) included."""
    passes = PASSES * trainer.limit_train_batches + val_batches
    return trainer.max_epochs * passes * forward_flops(configuration, num_channels, num_heads)


def _layers(configuration: Configuration, num_channels: int, num_heads: int) -> Iterator[_Convolution]:
    voxels = stage_voxels(configuration.patch_size, configuration.strides)
    if configuration.architecture == "residual_unet":
        yield from _residual_encoder(configuration, num_channels, voxels)
    else:
        yield from _plain_encoder(configuration, num_channels, voxels)
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


def _decoder(configuration: Configuration, num_heads: int, voxels: list[int]) -> Iterator[_Convolution]:
    """List the decoder from the bottleneck up: upsampling, convolutions on it joined with the skip, head."""
    features = configuration.features_per_stage
    for step, count in enumerate(configuration.n_conv_per_stage_decoder):
        level = len(features) - 2 - step
        stride = math.prod(configuration.strides[level + 1])
        yield _Convolution(features[level + 1], features[level], voxels[level], stride, taps=1, normalized=False)
        inputs = 2 * features[level]
        for _ in range(count):
            yield _convolution(inputs, features[level], voxels[level], configuration.kernel_sizes[level])
            inputs = features[level]
        yield _head(features[level], num_heads, voxels[level])
    if len(features) == 1:
        yield _head(features[0], num_heads, voxels[0])


def _head(inputs: int, num_heads: int, voxels: int) -> _Convolution:
    return _Convolution(inputs, num_heads, voxels, kernel_voxels=1, taps=1, normalized=False)
