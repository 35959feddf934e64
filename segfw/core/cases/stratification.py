"""Dealing units (cases, or groups of cases) out to folds so that each label is spread evenly over them."""

from collections.abc import Iterator, Sequence

import numpy as np

from segfw.core.types import IntArray


def stratify(counts: IntArray, sizes: IntArray, num_folds: int) -> list[int]:
    """Return the fold of each unit. `counts` (units, labels): its cases that hold each label; `sizes`: its cases.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD
    2011, Algorithm 1): the label with the fewest cases left is dealt out first, each unit to the fold that lacks that
    label most, then to the one that lacks cases most. Unlike there, ties are broken by order, folds are kept to sizes
    within one case of each other (as equal as units of several cases allow), and in the end units of one size change
    places as long as that brings the labels' numbers closer to even: what is dealt out last has little choice left.
    No fold stays empty where there are as many units as folds.
    """
    folds = np.full(len(sizes), -1)
    for label, unit in _rarest_first(counts, sizes):
        held = np.bincount(folds[folds >= 0], sizes[folds >= 0], num_folds).astype(int).tolist()
        has = {f: 0 if label is None else int(counts[folds == f, label].sum()) for f in range(num_folds)}
        may = _open_folds(held, int(sizes[unit]), int(sizes.sum()), units_left=int((folds < 0).sum()))
        folds[unit] = min(may, key=lambda fold: (has[fold], held[fold]))
    _exchange(folds, counts, sizes, num_folds)
    return [int(fold) for fold in folds]


def _rarest_first(counts: IntArray, sizes: IntArray) -> Iterator[tuple[int | None, int]]:
    """Yield (label, unit) in the order of dealing out, each unit once; those without any label last, under None."""
    left = np.ones(len(sizes), bool)
    while left.any():
        remaining = counts[left].sum(0)
        labels = np.flatnonzero(remaining)
        rarest = int(labels[remaining[labels].argmin()]) if len(labels) else None
        number = np.zeros_like(sizes) if rarest is None else counts[:, rarest]
        chosen = np.flatnonzero(left & (number > 0)) if rarest is not None else np.flatnonzero(left)
        for unit in sorted(chosen.tolist(), key=lambda u: (-number[u], -sizes[u])):
            yield rarest, unit
        left[chosen] = False


def _open_folds(held: Sequence[int], size: int, number: int, units_left: int) -> list[int]:
    """Return the folds that may take `size` cases more so that `number` cases end up in folds of equal size.

    `held`: the cases of each fold so far. The smallest folds where it fits nowhere; the empty ones where they need all
    the units that are left.
    """
    empty = [fold for fold, has in enumerate(held) if has == 0]
    if units_left <= len(empty):
        return empty
    share, remainder = divmod(number, len(held))
    most = share + (sum(has > share for has in held) < remainder)
    fits = [fold for fold, has in enumerate(held) if has + size <= most]
    return fits or [fold for fold, has in enumerate(held) if has == min(held)]


def _exchange(folds: IntArray, counts: IntArray, sizes: IntArray, num_folds: int) -> None:
    """Let units of equal size change places while that lowers the sum of squares of the labels' numbers per fold.

    The sum is an integer (exact in float64, whose products are fast) and falls with each exchange, so that this ends.
    """
    has = np.asarray(counts, float)
    squares, everyone = (has * has).sum(1), np.arange(len(folds))
    with_fold = has @ np.array([has[folds == fold].sum(0) for fold in range(num_folds)]).T  # products of unit and fold
    improved = True
    while improved:
        improved = False
        for one in everyone:
            fold = folds[one]
            # half the change of the sum: (x_one - x_other) . (fold_other - fold_one) + |x_one - x_other|^2
            there = with_fold[one, folds] - with_fold[one, fold] - with_fold[everyone, folds] + with_fold[:, fold]
            change = there + squares[one] + squares - 2 * (has @ has[one])
            other = int(np.where(sizes == sizes[one], change, 0).argmin())
            if change[other] < 0 and sizes[other] == sizes[one]:
                gained = has @ (has[one] - has[other])
                with_fold[:, fold] -= gained
                with_fold[:, folds[other]] += gained
                folds[one], folds[other] = folds[other], fold
                improved = True
