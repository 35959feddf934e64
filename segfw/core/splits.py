"""Dividing cases into folds: training and validation never share a case."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from segfw.core.errors import DataError, UsageError


@dataclass(frozen=True)
class Fold:
    """The names of the cases that train a model and of those that validate it."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def make_splits(case_names: Iterable[str], num_folds: int, seed: int) -> tuple[Fold, ...]:
    """Shuffle the sorted names and cut them into `num_folds` validation sets, each ascending.

    Same folds as nnU-Net's (scikit-learn's shuffled KFold with the legacy generator). The first folds hold one case
    more where the number does not divide. `DataError` with fewer cases than folds.
    """
    names = sorted(case_names)
    if num_folds < 2:
        raise UsageError(f"splits.num_folds must be at least 2, got {num_folds}")
    if len(names) < num_folds:
        raise DataError(f"{num_folds} folds need at least {num_folds} cases, got {len(names)}: {names}")
    shuffled = np.arange(len(names))
    np.random.RandomState(seed).shuffle(shuffled)
    folds = []
    for part in np.array_split(shuffled, num_folds):
        held_out = set(part.tolist())
        folds.append(
            Fold(
                train=tuple(name for i, name in enumerate(names) if i not in held_out),
                val=tuple(name for i, name in enumerate(names) if i in held_out),
            )
        )
    return tuple(folds)


def check_splits(folds: Sequence[Fold], case_names: Iterable[str]) -> None:
    """Raise `DataError` for a case both in train and val, named twice or unknown, and for an empty fold."""
    known = set(case_names)
    if not folds:
        raise DataError("the splits hold no fold")
    for number, fold in enumerate(folds):
        for part, names in (("train", fold.train), ("val", fold.val)):
            if not names:
                raise DataError(f"fold {number} has no case in {part!r}")
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DataError(f"fold {number} lists these cases more than once in {part!r}: {twice}")
            unknown = sorted(set(names) - known)
            if unknown:
                raise DataError(f"fold {number} names cases in {part!r} that the dataset does not have: {unknown}")
        shared = sorted(set(fold.train) & set(fold.val))
        if shared:
            raise DataError(f"fold {number} has these cases both in 'train' and in 'val': {shared}")
