"""Logits of a whole image from a network that sees windows.

Overlapping windows are weighted by a Gaussian and averaged (nnU-Net's positions and weights, bit for bit). Sums are
kept in float32 and only for the planes that later windows still touch, on the network's device where they fit into its
free memory, else on the host; finished planes leave as float16 on the host. nnU-Net adds up in float16: its rounding
moves single voxels on class boundaries, nothing else.

          planes --->
    window 0 |=======|
    window 1     |=======|          buffer of one window's depth,
             |...|                  these planes are final when window 1 starts

How much is computed at once depends on memory. The words for it:

- `Way`: on which device, at most how many windows at once, and whether sums must lie on the host.
- `Attempts`: the ways, the fastest first; where one lacks memory the next is tried, and later cases begin with that.
- `Budget`: the bytes that a case may take on the host and on the device.
- `Course`: what is done within one way and budget: how many windows at once, and where they are added up.
- `Means`: what all cases of a command share for one network: its attempts, and the bytes of one window's feature maps.
- `_Passes`: how each batch of windows goes through the network: mirrored how, how many at once, on which device.
- lanes: threads on the CPU, each of which computes a window of its own (`side_by_side`).
- `Pace`: counts finished windows, and logs now and then how long the image still takes.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from segfw.core.errors import JobError, UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.core.types import Shape
from segfw.inference.allocations import autocast, bytes_per_voxel
from segfw.inference.fallbacks import Attempts, Way, is_out_of_memory, window_ways, windows_at_once
from segfw.inference.lanes import Compute, side_by_side
from segfw.inference.memory import Budget, Course, WindowDemand, choose_course, memory_budget
from segfw.inference.pace import Pace

PEAK_WEIGHT = 10.0
Window = tuple[slice | int, ...]


@dataclass(frozen=True)
class Layer:
    """Windows that share planes `start` to `start + depth` of axis 0. Window indices count planes from `start`."""

    start: int
    depth: int
    windows: tuple[Window, ...]


def window_starts(size: int, tile: int, step_size: float) -> tuple[int, ...]:
    """Return where windows begin on an axis of `size` >= `tile`: evenly spread, at most `step_size` tiles apart."""
    if not 0 < step_size <= 1:
        raise UsageError(f"inference.step_size must be above 0 and at most 1, got {step_size}")
    count = ceil((size - tile) / (tile * step_size)) + 1
    return tuple(round((size - tile) / (count - 1) * i) for i in range(count)) if count > 1 else (0,)


@lru_cache(maxsize=8)
def gaussian_weights(tile: Shape) -> NDArray[np.float16]:
    """Return a window's weights: a Gaussian around voxel `tile // 2`, sigma an eighth of the edge, peak 10, no 0."""
    weights = np.ones(())
    for size in tile:
        impulse = np.zeros(size)
        impulse[size // 2] = 1
        weights = np.multiply.outer(weights, gaussian_filter1d(impulse, size / 8, mode="constant"))
    half: NDArray[np.float16] = (weights / weights.max() * PEAK_WEIGHT).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    half.setflags(write=False)
    return half


def mirrorings(axes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return every subset of `axes`, the empty one first, in order of size, then lexicographic."""
    ordered = sorted(axes)
    return tuple(subset for size in range(len(ordered) + 1) for subset in itertools.combinations(ordered, size))


@dataclass(frozen=True, eq=False)
class Means:
    """What the cases of one command go through a network with: the ways that are left, and what a window takes.

    `network_bytes`: of feature maps that live at once for one window; 0 leaves them out of the choice. `foreign`: the
    network is code of others, which may not bear being used by several threads at once.
    """

    attempts: Attempts[Way]
    network_bytes: float = 0.0
    foreign: bool = False


def prepare_means(
    network: nn.Module,
    num_channels: int,
    patch_size: Shape,
    tile: Shape,
    batch_size: int | None = None,
    foreign: bool = False,
) -> Means:
    """Return the means for a network where it lies; it computes one window of zeros `(num_channels, *tile)`.

    `batch_size`: None leaves it to `windows_at_once`. The network is in evaluation mode. One that lacks memory even for
    this is tried when there is a case.
    """
    device = _device(network)
    attempts = Attempts("sliding window", window_ways(device, batch_size or windows_at_once(device, patch_size)))
    try:
        return Means(attempts, bytes_per_voxel(network, num_channels, tile) * prod(patch_size), foreign)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return Means(attempts, foreign=foreign)


@torch.inference_mode()
def predict_logits(
    network: nn.Module,
    image: Tensor,
    patch_size: Shape,
    settings: InferenceSettings,
    mirror_axes: tuple[int, ...],
    num_heads: int,
    means: Means | None = None,
    budget: Budget | None = None,
) -> Tensor:
    """Return float16 logits `(num_heads, d0, d1, d2)` on the CPU for a preprocessed image `(C, d0, d1, d2)`.

    `patch_size` has two entries for a network that sees slices, else three; `mirror_axes` are axes of the window, empty
    for none, and count only with `settings.mirror`. An image smaller than the window is padded with 0 around, the odd
    voxel behind. The network computes where its parameters lie, under autocast on CUDA, and is left in evaluation mode.

    Where memory does not suffice, less is computed at once, at last on the CPU, on which the network is left then;
    `means`, the same for all cases of a command, let the next ones begin with what worked. `budget`: the memory that
    this may take; None follows the settings. Raises `JobError` when a logit is not finite, and when even the last way
    was too much.
    """
    if any(not 0 <= axis < len(patch_size) for axis in mirror_axes):
        raise UsageError(f"mirror_axes must be axes of the window, 0 to {len(patch_size) - 1} here, got {mirror_axes}")
    batch_size = settings.window_batch_size
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"inference.window_batch_size must be at least 1, got {batch_size}")
    network.eval()
    if means is None:
        device = _device(network)
        ways = window_ways(device, batch_size or windows_at_once(device, patch_size))
        means = Means(Attempts("sliding window", ways))
    subsets = mirrorings(mirror_axes if settings.mirror else ())
    shape = tuple(image.shape[1:])
    demand = WindowDemand.of(len(image), shape, patch_size, num_heads, means.network_bytes)

    def attempt(way: Way) -> Tensor:
        course = choose_course(demand, budget or memory_budget(settings.memory_gb, way.device), way)
        if course.sums_on_host and way.device.type != "cpu":
            means.attempts.say(f"windows are added up on the host: they do not fit into the memory of {way.device}")
        move(network, way.device)
        passes = _Passes(subsets, course.batch_size, num_heads, way.device)
        lanes = 1 if means.foreign or way.device.type != "cpu" else course.batch_size
        with side_by_side(network, lanes) as compute:
            return _predict(compute, image, patch_size, settings.step_size, passes, course)

    return means.attempts.run(attempt)


def move(network: nn.Module, device: torch.device) -> None:
    """Move a network in place, if it lies elsewhere; what it is made of stays fit for training."""
    if any(parameter.device != device for parameter in network.parameters()):
        with torch.inference_mode(False):
            network.to(device)


@dataclass(frozen=True)
class _Passes:
    """How windows go through the network: mirrored how, how many at once, into how many heads, on which device."""

    subsets: tuple[tuple[int, ...], ...]
    batch_size: int
    num_heads: int
    device: torch.device


def _device(network: nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def _predict(
    network: Compute, image: Tensor, patch_size: Shape, step_size: float, passes: _Passes, course: Course
) -> Tensor:
    """Take one course over the image; see `predict_logits`."""
    place = torch.device("cpu") if course.sums_on_host else passes.device
    inner, padding = _padding(tuple(image.shape[1:]), patch_size)
    padded = image.to(place, torch.float32)
    if any(padding):
        padded = nn.functional.pad(padded, padding)
    layers = _layers(tuple(padded.shape[1:]), patch_size, step_size, passes)
    logits = torch.empty((passes.num_heads, *padded.shape[1:]), dtype=torch.float16)
    with autocast(passes.device):
        _fill(logits, network, padded, layers, passes)
    return logits[(slice(None), *inner)]


def _padding(shape: Shape, tile: Shape) -> tuple[tuple[slice, ...], list[int]]:
    """Return where the image lies within the padded one, and the pad widths in PyTorch's order (last axis first)."""
    missing = [0] * (len(shape) - len(tile)) + [max(0, t - n) for n, t in zip(shape[-len(tile) :], tile, strict=True)]
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, shape, strict=True))
    return inner, [width for m in reversed(missing) for width in (m // 2, m - m // 2)]


def _layers(shape: Shape, tile: Shape, step_size: float, passes: _Passes) -> tuple[Layer, ...]:
    """Group the windows by the planes they share. Slices of a 2d configuration are grouped until they fill a batch."""
    starts = [window_starts(n, t, step_size) for n, t in zip(shape[-len(tile) :], tile, strict=True)]
    if len(tile) == 3:
        in_plane = [_window(corner, tile[1:]) for corner in itertools.product(*starts[1:])]
        return tuple(Layer(start, tile[0], tuple((slice(0, tile[0]), *w) for w in in_plane)) for start in starts[0])
    in_plane = [_window(corner, tile) for corner in itertools.product(*starts)]
    depth = max(1, passes.batch_size // (len(in_plane) * len(passes.subsets)))
    layers = []
    for start in range(0, shape[0], depth):
        planes = min(depth, shape[0] - start)
        layers.append(Layer(start, planes, tuple((z, *w) for z in range(planes) for w in in_plane)))
    return tuple(layers)


def _window(corner: Sequence[int], tile: Shape) -> Window:
    return tuple(slice(start, start + size) for start, size in zip(corner, tile, strict=True))


def _fill(logits: Tensor, network: Compute, image: Tensor, layers: Sequence[Layer], passes: _Passes) -> None:
    """Write the logits `(heads, d0, d1, d2)` of an image, plane by plane; sums lie where the image does."""
    if len(layers) == 1 and len(layers[0].windows) == 1:
        ((_, single),) = _window_logits(network, image, layers[0], passes)
        logits.copy_(_checked(single.reshape(logits.shape)))
        return
    tile = tuple(part.stop - part.start for part in layers[0].windows[0] if isinstance(part, slice))
    weights = torch.from_numpy(gaussian_weights(tile).astype(np.float32)).to(image.device)
    depth, in_plane = layers[0].depth, image.shape[2:]
    sums, norm = image.new_zeros((passes.num_heads, depth, *in_plane)), image.new_zeros((depth, *in_plane))
    pace = Pace(sum(len(layer.windows) for layer in layers), tuple(image.shape[1:]))
    for layer, following in itertools.zip_longest(layers, layers[1:]):
        for window, part in _window_logits(network, image, layer, passes):
            sums[(slice(None), *window)].addcmul_(part.to(image.device), weights)
            norm[window].add_(weights)
            pace.advance(1)
        final = (following.start if following else layer.start + layer.depth) - layer.start
        for head, sum_of_head in enumerate(sums):  # one by one, so that no copy of all is made
            logits[head, layer.start : layer.start + final] = _checked(sum_of_head[:final] / norm[:final])
        if following:
            for volume in (*sums, norm):
                volume[: depth - final] = volume[final:].clone()
                volume[depth - final :] = 0


def _window_logits(network: Compute, image: Tensor, layer: Layer, passes: _Passes) -> Iterator[tuple[Window, Tensor]]:
    """Yield each window of the layer with its float32 logits, averaged over the mirrored passes."""
    planes = image[:, layer.start : layer.start + layer.depth]
    for first in range(0, len(layer.windows), passes.batch_size):
        group = layer.windows[first : first + passes.batch_size]
        batch = torch.stack([planes[(slice(None), *window)] for window in group]).to(passes.device)
        yield from zip(group, _mirrored(network, batch, passes), strict=True)


def _mirrored(network: Compute, batch: Tensor, passes: _Passes) -> Tensor:
    """Average the network's logits over mirrored copies of `batch`, as many copies at once as the batch size allows."""
    at_once = max(1, passes.batch_size // len(batch))
    total = batch.new_zeros((len(batch), passes.num_heads, *batch.shape[2:]))
    for first in range(0, len(passes.subsets), at_once):
        subsets = [tuple(axis + 2 for axis in subset) for subset in passes.subsets[first : first + at_once]]
        logits = network(torch.cat([batch.flip(axes) for axes in subsets]))
        if logits.shape[1:] != total.shape[1:]:
            raise JobError(f"the network must return heads of {tuple(total.shape[1:])}, got {tuple(logits.shape[1:])}")
        for part, axes in zip(logits.float().chunk(len(subsets)), subsets, strict=True):
            total.add_(part.flip(axes))
    return total.div_(len(passes.subsets))


def _checked(logits: Tensor) -> Tensor:
    half = logits.half()
    if not torch.isfinite(half).all():
        raise JobError(
            "the network's logits are not finite (NaN, or beyond 65504): "
            "its weights diverged or the image holds extreme values"
        )
    return half
