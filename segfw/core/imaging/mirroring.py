"""Along which axes mirroring would teach a network what is not so: where labels always lie in the same order.

A network sees a patch, not where it was cut. If one label always lies before another along an axis, that order tells
them apart, and mirrored patches deny it; left and right kidneys are the plain case.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segfw.core.labels import LabelKey, LabelSet
from segfw.core.types import FloatArray, Shape

LEAST_CASES = 5  # with both labels; of fewer an order by chance is likely
LEAST_SHARE = 0.95  # of these cases in the same order
LEAST_SEPARATION = 0.5  # of the centroids, in standard deviations of the labels' own voxels along the axis

LEFT = (
    "left",
    "l",
    "lh",
    "lt",
    "links",
    "linke",
    "linker",
    "linkes",
    "sinister",
    "sinistra",
    "sinistrum",
    "sinistro",
    "gauche",
)
RIGHT = (
    "right",
    "r",
    "rh",
    "rt",
    "rechts",
    "rechte",
    "rechter",
    "rechtes",
    "dexter",
    "dextra",
    "dextrum",
    "destro",
    "droit",
    "droite",
)
_SIDES = {**dict.fromkeys(LEFT, "left"), **dict.fromkeys(RIGHT, "right")}


@dataclass(frozen=True)
class Order:
    """`first` lies before `second` along `axis` in `same` of the `cases` that have both.

    `separation`: the median distance of their centroids, in standard deviations of their voxels along the axis.
    """

    axis: int
    first: str
    second: str
    same: int
    cases: int
    separation: float

    def __str__(self) -> str:
        return (
            f"{self.first!r} lies before {self.second!r} along axis {self.axis} in {self.same} of {self.cases} cases, "
            f"by {self.separation:.1f} times their extent"
        )


@dataclass(frozen=True, eq=False)
class Places:
    """Where the labels of each case lie: centroids and standard deviations of their voxels, (cases, labels, axes).

    NaN where a case lacks a label.
    """

    names: tuple[str, ...]
    centroids: FloatArray
    deviations: FloatArray


def find_places(labels: LabelSet, cases: Iterable[tuple[Mapping[LabelKey, NDArray[np.integer]], Shape]]) -> Places:
    """Locate the foreground labels of each case from some of its voxels: key -> flat indices, and the case's shape."""
    centroids, deviations = [], []
    for locations, shape in cases:
        rows = [_place(locations.get(key, ()), shape) for _, key in labels.foreground]
        centroids.append([center for center, _ in rows])
        deviations.append([deviation for _, deviation in rows])
    return Places(tuple(name for name, _ in labels.foreground), np.array(centroids), np.array(deviations))


def _place(flat: Sequence[int] | NDArray[np.integer], shape: Shape) -> tuple[FloatArray, FloatArray]:
    if not len(flat):
        return np.full(len(shape), math.nan), np.full(len(shape), math.nan)
    voxels = np.array(np.unravel_index(np.asarray(flat), shape))
    return voxels.mean(1), voxels.std(1)


def consistent_orders(places: Places) -> list[Order]:
    """Return every pair of labels that lies in the same order along an axis, the most separated pairs first.

    Two labels do so along an axis if at least `LEAST_CASES` cases have both, at least `LEAST_SHARE` of these have the
    same one first, and the median distance is at least `LEAST_SEPARATION` standard deviations (root mean square of the
    two labels', median over cases) of their voxels along that axis.
    """
    found = []
    for i, j, both in _pairs(places):
        if both.sum() < LEAST_CASES:
            continue
        distances = places.centroids[both, j] - places.centroids[both, i]
        extents = np.median(np.sqrt((places.deviations[both][:, [i, j]] ** 2).mean(1)), axis=0)
        for axis, extent in enumerate(extents):
            order = _order(distances[:, axis], float(extent), axis, (places.names[i], places.names[j]))
            if order is not None:
                found.append(order)
    return sorted(found, key=lambda order: -order.separation)


def most_shared(places: Places) -> int | None:
    """Return how many cases hold the two labels that most cases hold together; None where there is but one label."""
    return max((int(both.sum()) for _, _, both in _pairs(places)), default=None)


def _pairs(places: Places) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Yield each pair of labels, by number, and which cases hold both."""
    there: NDArray[np.bool_] = ~np.isnan(places.centroids[:, :, 0])
    for i, j in itertools.combinations(range(len(places.names)), 2):
        yield i, j, there[:, i] & there[:, j]


def _order(distances: FloatArray, extent: float, axis: int, names: tuple[str, str]) -> Order | None:
    ahead, behind = int((distances > 0).sum()), int((distances < 0).sum())
    same, cases = max(ahead, behind), len(distances)
    separation = abs(float(np.median(distances))) / max(extent, 0.5)  # a label one voxel thin has no deviation
    if same < LEAST_SHARE * cases or separation < LEAST_SEPARATION:
        return None
    first, second = names if ahead >= behind else names[::-1]
    return Order(axis, first, second, same, cases, separation)


def side_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the (left, right) pairs among label names: the same words but for the side, such as kidney_left, R-kidney.

    Sides are whole words or letters between separators, capitals beginning words too (`leftKidney`), and `left` or
    `right` at either end of a word, in English, German, Latin, French and Italian.
    """
    sides: dict[str, dict[str, str]] = {"left": {}, "right": {}}
    for name in names:
        side, stem = _side_and_stem(name)
        if side is not None:
            sides[side].setdefault(stem, name)
    return [(left, sides["right"][stem]) for stem, left in sides["left"].items() if stem in sides["right"]]


def _side_and_stem(name: str) -> tuple[str | None, str]:
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|[^\W_]+", name)]
    for number, word in enumerate(words):
        if word in _SIDES:
            return _SIDES[word], " ".join(words[:number] + words[number + 1 :])
    for number, word in enumerate(words):
        cut = re.fullmatch(r"(left|right)(\w+)|(\w+)(left|right)", word)
        if cut:
            rest = cut[2] or cut[3]
            return cut[1] or cut[4], " ".join([*words[:number], rest, *words[number + 1 :]])
    return None, name
