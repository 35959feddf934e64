"""Connected components of a target, found on the host."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Components:
    """The components of a batch, numbered from 1.

    `members` int64, of the planes' shape: each voxel's component, 0 for none. Per component, in order: `samples` and
    `classes` int64, the sample and the foreground class to which it belongs, and `sizes` int64, its voxels.
    """

    members: NDArray[np.int64]
    samples: NDArray[np.int64]
    classes: NDArray[np.int64]
    sizes: NDArray[np.int64]


def label_components(planes: NDArray[np.generic]) -> Components:
    """Label `planes` `(B, P, *space)`, in which equal positive values that touch, by a corner too, are one component.

    The value v of plane p belongs to the foreground class p + v - 1: planes hold either every class or one each. Only
    the box around each class is searched.
    """
    maps = planes.astype(np.int32, copy=False)
    members = np.zeros(planes.shape, np.int64)
    structure = np.ones((3,) * (planes.ndim - 2), bool)
    owners: list[tuple[int, int]] = []
    for sample, plane in np.ndindex(planes.shape[:2]):
        for value, box in enumerate(ndimage.find_objects(maps[sample, plane]), start=1):
            if box is None:
                continue
            found, count = ndimage.label(maps[sample, plane][box] == value, structure)
            members[sample, plane][box] += np.where(found, found + len(owners), 0)
            owners += [(sample, plane + value - 1)] * count
    samples, classes = np.array(owners, np.int64).reshape(-1, 2).T
    sizes = np.bincount(members.ravel(), minlength=len(owners) + 1)[1:]
    return Components(members, samples.copy(), classes.copy(), sizes)
