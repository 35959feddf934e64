"""Generators depend on seed, purpose, epoch and index, and on nothing else."""

import itertools

import torch

from segfw.data.randomness import sample_generator, sample_generators


def test_each_ingredient_matters() -> None:
    keys = itertools.product((0, 1), ("train", "validation"), (0, 7), (0, 3))
    drawn = [sample_generator(*key).integers(2**62) for key in keys]
    assert len(set(drawn)) == 16


def test_batch_grouping_does_not_matter() -> None:
    together = [rng.random() for rng in sample_generators(5, "train", 2, torch.arange(6))]
    apart = [sample_generator(5, "train", 2, index).random() for index in range(6)]
    assert together == apart
