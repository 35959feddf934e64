"""Paired comparison of two ways to train: a bootstrap over patients and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segfw.core.types import FloatArray

RESAMPLES = 10_000
BOUNDS = (2.5, 97.5)


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95 % bounds and the two-sided probability of one at least as far from 0."""

    mean: float
    low: float
    high: float
    p: float


def bootstrap(differences: FloatArray, seed: int = 0) -> Difference:
    """Resample patients and seeds, both with replacement, of paired `differences` (patients, seeds).

    The probability is never given as less than one resample in all.
    """
    rng = np.random.default_rng(seed)
    patients, seeds = differences.shape
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows, columns = rng.integers(patients, size=patients), rng.integers(seeds, size=seeds)
        means[i] = differences[rows][:, columns].mean()
    low, high = np.percentile(means, BOUNDS)
    beyond = min(np.mean(means <= 0), np.mean(means >= 0))
    return Difference(float(differences.mean()), float(low), float(high), float(max(2 * beyond, 1 / RESAMPLES)))


def paired(
    ours: Mapping[tuple[str, int], Sequence[float]], theirs: Mapping[tuple[str, int], Sequence[float]]
) -> FloatArray:
    """Return the differences (patients, seeds) of two tables {(patient, seed): values of its cases and labels}.

    Raises `ValueError` unless both have the same patients, each with the same seeds.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"not paired: {sorted(ours.keys() ^ theirs.keys())[:5]}")
    patients, seeds = sorted({patient for patient, _ in ours}), sorted({seed for _, seed in ours})
    return np.array([[np.mean(ours[p, s]) - np.mean(theirs[p, s]) for s in seeds] for p in patients])
