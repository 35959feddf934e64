"""Dividing cases into folds: training and validation never share a case, nor a group where groups are known.

Every kind is a function of names, numbers and a seed. The order in which cases are given never matters.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segfw.core.cases.stratification import stratify
from segfw.core.errors import DataError, UsageError

MOST_LISTED = 5_000_000
"""Names in the folds of leave-one-out together: of 20 characters each they take half of what is read of a file."""


@dataclass(frozen=True)
class Fold:
    """The names of the cases that train a model and of those that validate it."""

    train: tuple[str, ...]
    val: tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    """Two cases of one `group` on both sides of a fold (its number)."""

    fold: int
    train: str
    val: str
    group: str


def random_splits(case_names: Iterable[str], num_folds: int, seed: int) -> tuple[Fold, ...]:
    """Shuffle the sorted names and cut them into `num_folds` validation sets, each ascending.

    Same folds as nnU-Net's (scikit-learn's shuffled KFold with the legacy generator). The first folds hold one case
    more where the number does not divide. `DataError` with fewer cases than folds.
    """
    names = sorted(case_names)
    _check_number(num_folds, names, "cases")
    shuffled = np.array_split(_shuffled(names, seed), num_folds)
    return _folds(names, [part.tolist() for part in shuffled])


def group_splits(groups: Mapping[str, str], num_folds: int, seed: int) -> tuple[Fold, ...]:
    """Divide cases (`groups`: case -> group) so that no group is on both sides of a fold.

    Groups are shuffled, then the largest goes first, each to the fold with the fewest cases so far (the first of
    equals): folds differ by no more cases than the largest group has. `DataError` with fewer groups than folds.
    """
    members = _members(groups)
    _check_number(num_folds, list(members), "groups")
    held: list[list[str]] = [[] for _ in range(num_folds)]
    for group in sorted(_shuffled(members, seed), key=lambda name: -len(members[name])):
        min(held, key=len).extend(members[group])
    return _folds(groups, held)


def stratified_splits(
    labels: Mapping[str, Iterable[int]], num_folds: int, seed: int, groups: Mapping[str, str] | None = None
) -> tuple[Fold, ...]:
    """Divide cases (`labels`: case -> the labels it holds) so that each label's cases spread evenly over the folds.

    By iterative stratification (see `stratify`), into folds of sizes within one case of each other. With `groups`
    (case -> group) no group is on both sides of a fold, and sizes are as equal as groups allow. `DataError` with fewer
    cases or groups than folds.
    """
    members = _members({name: name for name in labels} if groups is None else groups)
    _check_number(num_folds, list(members), "cases" if groups is None else "groups")
    units = [members[group] for group in _shuffled(members, seed)]
    present = {name: frozenset(values) for name, values in labels.items()}
    known = sorted(frozenset().union(*present.values()))
    counts = np.array([[sum(label in present[case] for case in unit) for label in known] for unit in units], int)
    held: list[list[str]] = [[] for _ in range(num_folds)]
    for fold, unit in zip(stratify(counts, np.array([len(unit) for unit in units]), num_folds), units, strict=True):
        held[fold].extend(unit)
    return _folds(labels, held)


def leave_one_out_splits(groups: Mapping[str, str]) -> tuple[Fold, ...]:
    """Make one fold per group of `groups` (case -> group), in the order of the groups' first cases.

    `DataError` with fewer than two groups, and with so many that their folds, each of which lists every case, could not
    be kept.
    """
    members = _members(groups)
    if len(members) * len(groups) > MOST_LISTED:
        raise DataError(
            f"split.kind=leave_one_out would make {len(members)} folds of {len(groups)} cases, which list "
            f"{len(members) * len(groups)} names, more than {MOST_LISTED}; use split.kind=group or random with "
            "split.num_folds"
        )
    if len(members) < 2:
        raise DataError(f"split.kind=leave_one_out needs at least 2 groups of cases, got {len(members)}: {[*members]}")
    return _folds(groups, sorted(members.values()))


def check_splits(folds: Sequence[Fold], case_names: Iterable[str], source: str = "the splits") -> None:
    """Raise `DataError` for a case both in train and val, named twice or unknown, and for an empty fold.

    `source`: the file the folds come from, for messages. Folds may leave cases out and validate one several times.
    """
    known = set(case_names)
    if not folds:
        raise DataError(f"{source}: hold no fold")
    for number, fold in enumerate(folds):
        place = f"{source}: fold {number}"
        for part, names in (("train", fold.train), ("val", fold.val)):
            if not names:
                raise DataError(f"{place} has no case in {part!r}")
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            if twice:
                raise DataError(f"{place} lists these cases more than once in {part!r}: {listed(twice)}")
            unknown = sorted(set(names) - known)
            if unknown:
                raise DataError(f"{place} names cases in {part!r} that the dataset does not have: {listed(unknown)}")
        shared = sorted(set(fold.train) & set(fold.val))
        if shared:
            raise DataError(f"{place} has these cases both in 'train' and in 'val': {listed(shared)}")


def find_leak(folds: Sequence[Fold], groups: Mapping[str, str]) -> Leak | None:
    """Return the first two cases of one group (`groups`: case -> group) that a fold puts on both sides, else None."""
    for number, fold in enumerate(folds):
        trains = {groups[case]: case for case in reversed(fold.train) if case in groups}
        for case in fold.val:
            if groups.get(case) in trains:
                return Leak(number, trains[groups[case]], case, groups[case])
    return None


def listed(names: Sequence[str], most: int = 10) -> str:
    """Return `names` for a message, the first `most` of them where there are more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{list(names[:most])}{more}"


def _members(groups: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return group -> its cases, both ascending."""
    members: dict[str, list[str]] = {group: [] for group in sorted(set(groups.values()))}
    for case in sorted(groups):
        members[groups[case]].append(case)
    return {group: tuple(cases) for group, cases in members.items()}


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Return `names` (ascending) in the order of nnU-Net's shuffle; its legacy generator gives the same for ever."""
    names = list(names)
    order = np.arange(len(names))
    np.random.RandomState(seed).shuffle(order)
    return [names[i] for i in order]


def _check_number(num_folds: int, names: Sequence[str], what: str) -> None:
    if num_folds < 2:
        raise UsageError(f"split.num_folds must be at least 2, got {num_folds}")
    if len(names) < num_folds:
        remedy = f"; use split.num_folds={len(names)} or split.kind=leave_one_out" if len(names) > 1 else ""
        raise DataError(
            f"{num_folds} folds need at least {num_folds} {what}, got {len(names)}: {listed(names)}{remedy}"
        )


def _folds(names: Iterable[str], held_out: Sequence[Iterable[str]]) -> tuple[Fold, ...]:
    """Return one fold for each validation set, its cases ascending."""
    ordered = sorted(names)
    folds = []
    for part in map(frozenset, held_out):
        train, val = (tuple(name for name in ordered if (name in part) is wanted) for wanted in (False, True))
        folds.append(Fold(train, val))
    return tuple(folds)
