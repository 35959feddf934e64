"""Random numbers that belong to a sample, not to a worker: any number of workers and ranks draws the same batches."""

import zlib
from collections.abc import Iterable

import numpy as np


def sample_generator(seed: int, purpose: str, epoch: int, index: int) -> np.random.Generator:
    """Return the generator of sample `index` of `epoch`; `purpose` keeps training, validation and augmentation apart.

    `index` counts the samples of the whole epoch over all ranks.
    """
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence((seed, zlib.crc32(purpose.encode()), epoch, index)))
    )


def sample_generators(seed: int, purpose: str, epoch: int, indices: Iterable[int]) -> list[np.random.Generator]:
    """Return one generator per sample of a batch; see `sample_generator`."""
    return [sample_generator(seed, purpose, epoch, int(index)) for index in indices]
