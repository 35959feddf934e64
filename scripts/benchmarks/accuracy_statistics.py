"""Comparison of two ways to train on the same patients: a bootstrap over patients and seeds, and flipped signs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from segfw.core.types import FloatArray

RESAMPLES = 10_000
BOUNDS = (2.5, 97.5)
LEAST_PATIENTS = 6
"""With fewer no flipping of signs has a probability below 0.05: 2 / 2^5 is 0.06."""
MOST_EXACT = 13
"""Patients of whose differences all signs are tried: 2^13 = 8,192."""


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95 % bounds and the two-sided probability of one at least as far from 0.

    `p`: the larger one of the bootstrap's and of flipped signs; None for fewer than 6 patients.
    """

    mean: float
    low: float
    high: float
    p: float | None


def compare(ours: FloatArray, theirs: FloatArray, seed: int = 0) -> Difference:
    """Compare two tables (patients, seeds) of the same patients.

    Patients are resampled for both at once, seeds for each, since seed k of one has nothing to do with seed k of the
    other; all with replacement. The probability is never given as
    less than what the resamples can tell.
    """
    rng = np.random.default_rng(seed)
    patients = len(ours)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = rng.integers(patients, size=patients)
        columns, others = (rng.integers(side.shape[1], size=side.shape[1]) for side in (ours, theirs))
        means[i] = ours[rows][:, columns].mean() - theirs[rows][:, others].mean()
    low, high = np.percentile(means, BOUNDS)
    beyond = max(min(np.mean(means <= 0), np.mean(means >= 0)), 1 / RESAMPLES)
    differences = ours.mean(1) - theirs.mean(1)
    p = max(min(1.0, 2 * float(beyond)), flipped(differences, rng)) if patients >= LEAST_PATIENTS else None
    return Difference(float(differences.mean()), float(low), float(high), p)


def flipped(differences: FloatArray, rng: np.random.Generator) -> float:
    """Return how often the mean of `differences` is at least as far from 0 when their signs are flipped at random.

    All signs are tried for up to 13 differences; else 10,000 draws, the observed signs counted with them.
    """
    count = len(differences)
    if count <= MOST_EXACT:
        signs = np.array(list(product((-1, 1), repeat=count)))
    else:
        signs = np.vstack([np.ones(count), rng.choice((-1, 1), (RESAMPLES, count))])
    means = np.abs(signs @ differences)
    return float(np.mean(means >= abs(differences.sum()) - 1e-12))


def matched(
    ours: Mapping[tuple[str, int], Sequence[float]], theirs: Mapping[tuple[str, int], Sequence[float]]
) -> tuple[FloatArray, FloatArray]:
    """Return (patients, seeds) of both of two tables {(patient, seed): values of its cases and labels}.

    Raises `ValueError` unless both have the same patients, each with the same seeds.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"not of the same patients and seeds: {sorted(ours.keys() ^ theirs.keys())[:5]}")
    patients, seeds = sorted({patient for patient, _ in ours}), sorted({seed for _, seed in ours})
    first, second = (np.array([[np.mean(side[p, s]) for s in seeds] for p in patients]) for side in (ours, theirs))
    return first, second
