"""Dividing the training cases of a fold once more, so that choices can be made without its validation cases."""

from collections.abc import Mapping

import numpy as np

from segfw.core.cases.splits import Fold, listed
from segfw.core.errors import UsageError


def inner_split(fold: Fold, share: float, seed: int, number: int, groups: Mapping[str, str]) -> Fold:
    """Hold about `share` of a fold's training cases out to validate on; its validation cases take no part.

    `number`: the fold's, which with `seed` decides who is held out; `groups`: case -> what it belongs to, such as a
    patient. Groups are taken whole, in shuffled order, as long as no more cases than the share come together (at least
    the smallest group). `UsageError` where the training cases are of fewer than two groups.
    """
    members: dict[str, list[str]] = {}
    for case in sorted(fold.train):
        members.setdefault(groups[case], []).append(case)
    if len(members) < 2:
        raise UsageError(
            f"split.inner_share={share} divides the training cases of fold {number}, which needs at least 2 of them "
            f"that do not belong together, got {len(members)}: {listed(sorted(fold.train))}"
        )
    names = list(members)
    shuffled = [names[i] for i in np.random.default_rng((seed, number)).permutation(len(names))]
    wanted = min(max(round(share * len(fold.train)), 1), len(fold.train) - 1)
    held: set[str] = set()
    for name in shuffled:
        if len(held) + len(members[name]) <= wanted:
            held.update(members[name])
    held = held or set(members[min(shuffled, key=lambda name: len(members[name]))])
    train, val = (tuple(case for case in sorted(fold.train) if (case in held) is wanted) for wanted in (False, True))
    return Fold(train, val)


def is_inner_split(train: tuple[str, ...], val: tuple[str, ...], fold: Fold) -> bool:
    """Whether `train` and `val` divide the training cases of `fold` among them."""
    return bool(val) and sorted((*train, *val)) == sorted(fold.train)
