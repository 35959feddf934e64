"""What counts of voxels do not tell of a case: distances of surfaces, errors of volume, lesions found.

Rule for absent labels, of all metrics. In neither map: every measure of agreement is NaN and the case does not count
for that label (what is correctly left empty raises no mean). In one map only, the label was missed or invented: Dice,
IoU, NSD and lesion F1 are 0 and are averaged; HD95 and ASSD, which have no value there, are NaN and left out of the
mean, beside which the summary states how many cases were missed and invented. So a mean HD95 is never read without
them, and no penalty in millimetres, such as the image's diagonal, makes it depend on the field of view. The relative
error of volume is 1 where the label was missed, and undefined where it was invented.

Voxels that the reference marks as not annotated belong to neither mask.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from segfw.core.labels import LabelKey
from segfw.core.scoring.lesions import count_lesions
from segfw.core.scoring.surface import compare_surfaces
from segfw.core.types import BoolArray, IntArray

_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class Measures:
    """Measures of one label or region of one case; NaN where undefined.

    `tolerance_mm`: what the NSD was told to forgive.
    `volume_error`: |predicted - reference| / reference, so that a mean does not cancel. `volume_difference_ml`:
    predicted - reference, with its sign, whose mean is the bias; undefined where an axis has a single voxel, as in 2D
    images. `lesion_*`: see `segfw.core.scoring.lesions`.
    """

    hd95_mm: float
    assd_mm: float
    nsd: float
    tolerance_mm: float
    volume_error: float
    volume_difference_ml: float
    lesion_f1: float
    lesion_tp: int
    lesion_fp: int
    lesion_fn: int


MEASURES = tuple(entry.name for entry in fields(Measures))


def measure(
    reference: IntArray,
    prediction: IntArray,
    keys: Mapping[str, LabelKey],
    spacing: Sequence[float],
    tolerance_mm: float,
    ignore_value: int | None = None,
) -> dict[str, Measures]:
    """Measure each label or region of `keys` (name -> values) in two maps of one shape, each within its own box.

    `spacing`: millimetres per axis. Voxels whose reference is `ignore_value` are left out.
    """
    spans = _spans(reference, prediction, {value for key in keys.values() for value in key})
    axes = [axis for axis, size in enumerate(reference.shape) if size > 1]
    voxel_ml = math.prod(spacing) / _MM3_PER_ML if len(axes) == reference.ndim else None
    found = {}
    for name, key in keys.items():
        box = _box([spans[value] for value in key], reference.ndim)
        here = reference[box]
        masks = _mask(here, key), _mask(prediction[box], key)
        if ignore_value is not None:
            known = here != ignore_value
            masks = masks[0] & known, masks[1] & known
        surfaces = compare_surfaces(*masks, spacing, tolerance_mm, axes)
        lesions = count_lesions(*masks)
        n_ref, n_pred = (int(np.count_nonzero(mask)) for mask in masks)
        found[name] = Measures(
            hd95_mm=surfaces.hd95,
            assd_mm=surfaces.assd,
            nsd=surfaces.nsd,
            tolerance_mm=tolerance_mm,
            volume_error=abs(n_pred - n_ref) / n_ref if n_ref else math.nan,
            volume_difference_ml=(n_pred - n_ref) * voxel_ml if voxel_ml and (n_ref or n_pred) else math.nan,
            lesion_f1=lesions.f1,
            lesion_tp=lesions.tp,
            lesion_fp=lesions.fp,
            lesion_fn=lesions.fn,
        )
    return found


def _spans(reference: IntArray, prediction: IntArray, values: Collection[int]) -> dict[int, list[tuple[slice, ...]]]:
    """Return the boxes of each value in the two maps; the whole for values below 1, which are not looked for."""
    whole = tuple(slice(0, size) for size in reference.shape)
    found = [ndimage.find_objects(_integers(array), max_label=max((1, *values))) for array in (reference, prediction)]
    return {
        value: [whole] if value < 1 else [boxes[value - 1] for boxes in found if boxes[value - 1] is not None]
        for value in values
    }


def _box(spans: Sequence[Sequence[tuple[slice, ...]]], ndim: int) -> tuple[slice, ...]:
    """Return the smallest box around all boxes; an empty one if there are none."""
    boxes = [box for several in spans for box in several]
    return tuple(
        slice(min((box[i].start for box in boxes), default=0), max((box[i].stop for box in boxes), default=0))
        for i in range(ndim)
    )


def _mask(array: IntArray, key: LabelKey) -> BoolArray:
    return np.asarray(array == key[0] if len(key) == 1 else np.isin(array, key))


def _integers(array: IntArray) -> IntArray:
    return array.astype(np.uint8) if array.dtype == bool else array
