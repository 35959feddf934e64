"""What surrounds a network, for onnxruntime: two graphs of a few kilobytes, in ONNX's own language.

    before   image (C, Z, Y, X) float32 as read, turned and cropped; spacing (3) float64 of its axes, in mm
             -> windowed (C, z, y, x) float32: normalized, resampled, padded to at least a patch;
                shape (3) int64: its size without the padding
    after    logits (heads, z, y, x) float32 on that grid; shape; size (3) int64 of the image
             -> labels (*size) uint8: padding cut off, resampled, decoded

Resampling along an axis is a product with a matrix, which a graph makes from the two sizes: the splines' values at the
new voxels' centers, times the inverse of those at the old ones, times the continuation of the edge. That inverse is
known in closed form for order 3: sqrt(3) z^|k - l| with z = sqrt(3) - 2 (Unser, "Splines: A Perfect Fit for Signal and
Image Processing", IEEE Signal Processing Magazine 1999); for order 1 it is 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segfw.core.imaging.normalization import EPSILON
from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, IntensityStatistics

HEADER = """<ir_version: 8, opset_import: ["" : 18, "segfw" : 1], producer_name: "segfw">"""
LARGEST = 3.4028234e38
LARGEST_LABEL = 255
NORMALIZE = """
  space = Constant <value_ints = [1, 2, 3]> ()
  raised = Max (image, lowest)
  clipped = Min (raised, highest)
  wide = Cast <to = 11> (clipped)
  mean_wide = ReduceMean (wide, space)
  centered_wide = Sub (wide, mean_wide)
  squared = Mul (centered_wide, centered_wide)
  variance = ReduceMean (squared, space)
  deviation = Sqrt (variance)
  mean_found = Cast <to = 1> (mean_wide)
  deviation_found = Cast <to = 1> (deviation)
  least = ReduceMin (clipped, space)
  most = ReduceMax (clipped, space)
  range = Sub (most, least)
  offset_of_range = Where (by_range, least, offset_given)
  offset = Where (by_deviation, mean_found, offset_of_range)
  divisor_of_range = Where (by_range, range, divisor_given)
  divisor_any = Where (by_deviation, deviation_found, divisor_of_range)
  divisor = Max (divisor_any, epsilon)
  shifted = Sub (clipped, offset)
  maps = Div (shifted, divisor)
"""
SHAPE = """
  extent = Shape <start = 1> (image)
  extent_double = Cast <to = 11> (extent)
  ratio_of_spacings = Div (spacing, spacing_of_model)
  voxels = Mul (ratio_of_spacings, extent_double)
  rounded = Round (voxels)
  count = Cast <to = 7> (rounded)
  single = Constant <value_ints = [1]> ()
  shape = Max (count, single)
"""
RESIZE = """
  old = Shape <start = 1> (maps)
  old_z, old_y, old_x = Split <num_outputs = 3> (old)
  new_z, new_y, new_x = Split <num_outputs = 3> ({target})
  along_z = segfw.matrix (old_z, new_z)
  along_y = segfw.matrix (old_y, new_y)
  along_x = segfw.matrix (old_x, new_x)
  by_one = Einsum <equation = "nz,czyx->cnyx"> (along_z, maps)
  by_two = Einsum <equation = "ny,czyx->cznx"> (along_y, by_one)
  by_three = Einsum <equation = "nx,czyx->czyn"> (along_x, by_two)
  axes = Constant <value_ints = [1, 2, 3]> ()
  low = ReduceMin (maps, axes)
  high = ReduceMax (maps, axes)
  not_below = Max (by_three, low)
  resized = Min (not_below, high)
"""
PAD = """
  nothing = Constant <value_ints = [0]> ()
  pair = Constant <value_ints = [2]> ()
  filled = Max (shape, patch)
  missing = Sub (filled, shape)
  in_front = Div (missing, pair)
  behind = Sub (missing, in_front)
  pads = Concat <axis = 0> (nothing, in_front, nothing, behind)
  windowed = Pad (resized, pads)
"""
UNPAD = """
  pair = Constant <value_ints = [2]> ()
  padded = Shape <start = 1> (logits)
  extra = Sub (padded, shape)
  begin = Div (extra, pair)
  end = Add (begin, shape)
  space = Constant <value_ints = [1, 2, 3]> ()
  maps = Slice (logits, begin, end, space)
"""
MATRIX = """<domain: "segfw", opset_import: ["" : 18]>
matrix (old_list, new_list) => (matrix) {{
  old = Squeeze (old_list)
  new = Squeeze (new_list)
  none = Constant <value_int = 0> ()
  step = Constant <value_int = 1> ()
  continued = Constant <value_int = 12> ()
  first = Neg (continued)
  end = Add (old, continued)
  knot = Range (first, end, step)
  last = Sub (old, step)
  nearest = Clip (knot, none, last)
  upright = Constant <value_ints = [-1, 1]> ()
  nearest_upright = Reshape (nearest, upright)
  sample = Range (none, old, step)
  is_nearest = Equal (nearest_upright, sample)
  edge = Cast <to = 11> (is_nearest)
  half = Constant <value = double {{0.5}}> ()
  number = Range (none, new, step)
  number_double = Cast <to = 11> (number)
  old_double = Cast <to = 11> (old)
  new_double = Cast <to = 11> (new)
  ratio = Div (old_double, new_double)
  center_new = Add (number_double, half)
  center_old = Mul (center_new, ratio)
  at = Sub (center_old, half)
  at_upright = Reshape (at, upright)
  knot_double = Cast <to = 11> (knot)
  offset = Sub (at_upright, knot_double)
  distance = Abs (offset)
  one = Constant <value = double {{1.0}}> ()
  below_one = Sub (one, distance)
  near = Relu (below_one)
{weights}
  matrix_double = MatMul (weights, edge)
  matrix = Cast <to = 1> (matrix_double)
}}
"""
WEIGHTS = {
    1: "  weights = Identity (near)",
    3: f"""  two = Constant <value = double {{2.0}}> ()
  below_two = Sub (two, distance)
  far = Relu (below_two)
  three = Constant <value = double {{3.0}}> ()
  far_cubed = Pow (far, three)
  near_cubed = Pow (near, three)
  four = Constant <value = double {{4.0}}> ()
  near_share = Mul (four, near_cubed)
  difference = Sub (far_cubed, near_share)
  factor = Constant <value = double {{{3**0.5 / 6!r}}}> ()
  values = Mul (difference, factor)
  knot_upright = Reshape (knot_double, upright)
  gap = Sub (knot_upright, knot_double)
  apart = Abs (gap)
  pole = Constant <value = double {{{3**0.5 - 2!r}}}> ()
  inverse = Pow (pole, apart)
  weights = MatMul (values, inverse)""",
}
"""Spline order -> what makes `weights` (new voxels, knots) of the distances.

A cubic spline is (far^3 - 4 near^3) / 6, with far = max(0, 2 - distance) and near = max(0, 1 - distance).
"""


def write_before(
    path: Path, configuration: Configuration, intensities: Sequence[IntensityStatistics], onnx: Any
) -> None:
    """Write the graph that makes of an image what windows are cut from. `onnx`: the module, an optional package.

    `configuration` has 3D windows, no mask in its normalization, and an order of `WEIGHTS`.
    """
    pairs = zip(configuration.normalization_schemes, intensities, strict=True)
    scales = [_scale(scheme, statistics) for scheme, statistics in pairs]
    names = ("lowest", "highest", "offset_given", "divisor_given")
    constants = [_tensor(name, "float", column) for name, column in zip(names, zip(*scales, strict=True), strict=True)]
    for name, scheme in (("by_deviation", "zscore"), ("by_range", "rescale_to_0_1")):
        constants.append(_tensor(name, "bool", [int(each == scheme) for each in configuration.normalization_schemes]))
    spacing = ", ".join(map(repr, configuration.spacing))
    constants.append(f"  epsilon = Constant <value = float {{{EPSILON!r}}}> ()")
    constants.append(f"  patch = Constant <value_ints = {list(configuration.patch_size)}> ()")
    constants.append(f"  spacing_of_model = Constant <value = double[3] {{{spacing}}}> ()")
    graph = (
        f"{HEADER}\nbefore (float[{len(scales)}, Z, Y, X] image, double[3] spacing) => "
        f"(float[{len(scales)}, A, B, D] windowed, int64[3] shape) {{\n"
        + "\n".join(constants)
        + f"{NORMALIZE}{SHAPE}{RESIZE.format(target='shape')}{PAD}}}\n"
    )
    _write(path, graph, configuration.resampling.order_image, onnx)


def write_after(path: Path, configuration: Configuration, labels: LabelSet, onnx: Any) -> None:
    """Write the graph that makes a label map of logits. `onnx`: the module, an optional package."""
    heads = labels.num_heads
    graph = (
        f"{HEADER}\nafter (float[{heads}, A, B, D] logits, int64[3] shape, int64[3] size) => "
        f"(uint8[Z, Y, X] labels) {{{UNPAD}{RESIZE.format(target='size')}{_decode(labels)}}}\n"
    )
    _write(path, graph, configuration.resampling.order_probabilities, onnx)


def _decode(labels: LabelSet) -> str:
    """Return what makes `labels` of `resized`: the first largest head, or regions painted over one another."""
    if not labels.has_regions:
        return "\n  best = ArgMax <axis = 0, keepdims = 0> (resized)\n  labels = Cast <to = 2> (best)\n"
    lines = ["\n  zero = Constant <value = float {0.0}> ()", "  painted_0 = Constant <value = uint8 {0}> ()"]
    for head, value in enumerate(labels.regions_class_order or ()):
        lines += [
            f"  index_{head} = Constant <value_int = {head}> ()",
            f"  head_{head} = Gather <axis = 0> (resized, index_{head})",
            f"  inside_{head} = Greater (head_{head}, zero)",
            f"  value_{head} = Constant <value = uint8 {{{value}}}> ()",
            f"  painted_{head + 1} = Where (inside_{head}, value_{head}, painted_{head})",
        ]
    return "\n".join([*lines, f"  labels = Identity (painted_{labels.num_heads})\n"])


def _scale(scheme: str, statistics: IntensityStatistics) -> tuple[float, float, float, float]:
    """Return lowest, highest, offset and divisor; the last two are not looked at where the image gives them."""
    if scheme == "ct":
        return statistics.percentile_00_5, statistics.percentile_99_5, statistics.mean, statistics.std
    return -LARGEST, LARGEST, 0.0, 255.0 if scheme == "rgb_to_0_1" else 1.0


def _tensor(name: str, kind: str, values: Sequence[float]) -> str:
    """Return a constant with a value for each channel."""
    return f"  {name} = Constant <value = {kind}[{len(values)}, 1, 1, 1] {{{', '.join(map(repr, values))}}}> ()"


def _write(path: Path, graph: str, order: int, onnx: Any) -> None:
    model = onnx.parser.parse_model(graph + MATRIX.format(weights=WEIGHTS[order]))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
