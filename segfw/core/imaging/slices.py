"""Slices of a volume as people look at them: the right way up, around what matters, few and small enough for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segfw.core.types import BoolArray, FloatArray, IntArray, Spacing

ENDS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Where the patient's axes x, y and z begin and end, in the files' coordinates (x to the left, y to the back)."""
CONTEXT = 0.5
"""How much of its own extent is left around the foreground, on each side."""
LEAST_EDGE = 96
"""Pixels that are shown at least, where the image has them, however small the foreground."""
LEAST_SLICES = 2
"""Slices before and behind the foreground."""
WINDOW = (0.5, 99.5)
SAMPLED = 1_000_000
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Which array axes are slices, rows and columns, and whether rows and columns are turned round.

    `ends`: letters of the patient's sides at the left, right, top and bottom edge; empty where they are not known.
    """

    axes: tuple[int, int, int]
    flip_rows: bool = False
    flip_columns: bool = False
    ends: tuple[str, ...] = ()

    def turned(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return `(Z, Y, X)` as (slices, rows, columns); a view of it."""
        steps = (slice(None), _step(self.flip_rows), _step(self.flip_columns))
        return array.transpose(self.axes)[steps]

    def spacing(self, spacing: Spacing) -> Spacing:
        """Return the spacing of slices, rows and columns."""
        return tuple(spacing[axis] for axis in self.axes)


@dataclass(frozen=True)
class Frame:
    """What is shown of a turned volume: some slices, and of each a box of which every so-manieth pixel."""

    slices: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]
    steps: tuple[int, int]

    def labels(self, turned: IntArray) -> IntArray:
        """Return the label map `(slices, rows, columns)` within the frame: of each block of pixels the middle one."""
        row_step, column_step = self.steps
        box = turned[list(self.slices), slice(*self.rows), slice(*self.columns)]
        height, width = (box.shape[1] // row_step) * row_step, (box.shape[2] // column_step) * column_step
        return np.ascontiguousarray(box[:, row_step // 2 : height : row_step, column_step // 2 : width : column_step])

    def image(self, turned: FloatArray) -> FloatArray:
        """Return the image `(slices, rows, columns)` within the frame, float32: of each block of pixels the mean."""
        row_step, column_step = self.steps
        box = turned[list(self.slices), slice(*self.rows), slice(*self.columns)].astype(np.float32)
        height, width = box.shape[1] // row_step, box.shape[2] // column_step
        blocks = box[:, : height * row_step, : width * column_step]
        return np.asarray(
            blocks.reshape(len(blocks), height, row_step, width, column_step).mean((2, 4), dtype=np.float32)
        )


def view_across(across: int, direction: Sequence[Sequence[float]] | None) -> View:
    """Return how to look at slices across the array axis `across`.

    `direction[i]`: unit vector (x, y, z) along array axis `i`, in the files' coordinates; None where no patient's sides
    are known, which leaves the array as it is. Rows go down to the back or the feet, columns to the patient's left or
    back, as radiologists hang images.
    """
    rows, columns = (axis for axis in range(3) if axis != across)
    along = [] if direction is None else [int(np.argmax(np.abs(vector))) for vector in direction]
    if direction is None or sorted(along) != [0, 1, 2]:
        return View((across, rows, columns))
    if along[rows] < along[columns]:
        rows, columns = columns, rows
    down, right = along[rows], along[columns]
    is_upright = down == 2
    begin, end = ENDS[down] if not is_upright else ENDS[down][::-1]
    falls = direction[rows][down] < 0
    return View(
        (across, rows, columns),
        flip_rows=falls != is_upright,
        flip_columns=direction[columns][right] < 0,
        ends=(*ENDS[right], begin, end),
    )


def frame_around(foreground: BoolArray, spacing: Spacing, most_slices: int, longest_edge: int) -> Frame:
    """Return the frame around a turned mask `(slices, rows, columns)`, the whole of it where the mask is empty.

    At most `most_slices` slices, evenly spread, of at most `longest_edge` pixels along either edge. `spacing`: of the
    mask's axes.
    """
    spans = [_span(np.asarray(foreground.any(axis=others))) for others in ((1, 2), (0, 2), (0, 1))]
    first, last = spans[0]
    margin = max(LEAST_SLICES, (last - first) // 10)
    slices = np.arange(max(first - margin, 0), min(last + margin, len(foreground)))
    chosen = slices[np.unique(np.linspace(0, len(slices) - 1, min(most_slices, len(slices))).round().astype(int))]
    context = CONTEXT * max((b - a) * s for (a, b), s in zip(spans[1:], spacing[1:], strict=True))
    rows, columns = (
        _grown(span, context / s, size)
        for span, s, size in zip(spans[1:], spacing[1:], foreground.shape[1:], strict=True)
    )
    steps = tuple(-(-(b - a) // longest_edge) for a, b in (rows, columns))
    return Frame(tuple(int(i) for i in chosen), rows, columns, (steps[0], steps[1]))


def to_bytes(image: FloatArray, low: float, high: float) -> Bytes:
    """Return intensities as greys, black at and below `low`, white at and above `high`; NaN is black."""
    scaled = (np.nan_to_num(image, nan=low) - low) / (high - low if high > low else 1.0)
    return np.asarray(np.rint(np.clip(scaled, 0.0, 1.0) * 255.0), np.uint8)


def window_of(image: FloatArray) -> tuple[float, float]:
    """Return the intensities shown as black and white: the 0.5th and 99.5th percentile, of at most a million voxels."""
    values = image.reshape(-1)
    sample = values[:: max(1, values.size // SAMPLED)]
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, WINDOW) if finite.size else (0.0, 1.0)
    return float(low), float(high)


def _span(occupied: BoolArray) -> tuple[int, int]:
    """Return where the true entries begin and end (exclusive), all of it where there are none."""
    found = np.flatnonzero(occupied)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, len(occupied))


def _grown(span: tuple[int, int], margin: float, size: int) -> tuple[int, int]:
    """Return the span with `margin` on both sides and at least `LEAST_EDGE` long, within the image."""
    first, last = span
    wanted = max(margin, (LEAST_EDGE - (last - first)) / 2)
    grown = int(np.ceil(wanted))
    return max(first - grown, 0), min(last + grown, size)


def _step(is_flipped: bool) -> slice:
    return slice(None, None, -1 if is_flipped else None)
