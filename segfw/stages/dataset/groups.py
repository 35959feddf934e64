"""What folds are made from: the cases, which of them belong together, and the refusal of folds that part those."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segfw.core.cases.dataset import Dataset
from segfw.core.cases.groups import groups_by_column, groups_by_pattern, guess_group_pattern, join_groups
from segfw.core.cases.splits import Fold, find_leak
from segfw.core.errors import DataError, UsageError
from segfw.core.settings.schema import SplitSettings
from segfw.core.support.files import looked_for
from segfw.io.datasets.case_table import CASE, read_case_table
from segfw.stages.dataset.record import DatasetRecord

log = logging.getLogger(__name__)

LabelPresence = Callable[[], Mapping[str, frozenset[int]]]
"""Gives case -> the label values above 0 that it holds; called only where folds depend on it."""


@dataclass(frozen=True)
class FoldCases:
    """What folds are made from: the cases, their groups (None: not known), and those whose images are identical."""

    names: frozenset[str]
    groups: Mapping[str, str] | None
    twins: tuple[tuple[str, ...], ...]
    label_presence: LabelPresence

    def only(self, names: frozenset[str]) -> "FoldCases":
        """Return the same for some of the cases."""
        groups = None if self.groups is None else {n: g for n, g in self.groups.items() if n in names}
        twins = (tuple(name for name in cases if name in names) for cases in self.twins)
        return FoldCases(names, groups, tuple(cases for cases in twins if len(cases) > 1), self.label_presence)


def gather_cases(split: SplitSettings, record: DatasetRecord, label_presence: LabelPresence) -> FoldCases:
    """Find the groups and the identical images of a dataset; `label_presence` is called when needed, and once."""
    names = frozenset(case.name for case in record.dataset.cases)
    return FoldCases(names, find_groups(split, record.dataset), identical_images(record), cache(label_presence))


def find_groups(split: SplitSettings, dataset: Dataset) -> dict[str, str] | None:
    """Return case -> group by `split.group_pattern` or `split.group_key`; None where neither is given."""
    names = [case.name for case in dataset.cases]
    if split.group_pattern is not None:
        return groups_by_pattern(names, split.group_pattern)
    if split.group_key is None:
        return None
    if split.table is None:
        table = {case.name: case.table for case in dataset.cases}
        if not any(table.values()):
            raise UsageError(
                f"split.group_key={split.group_key} is a column of a table, and the dataset has none of its own; "
                f"give split.table=FILE.csv with the columns {CASE} and {split.group_key}"
            )
        return groups_by_column(table, names, split.group_key, "the dataset's list of files")
    path = Path(split.table)
    if not path.is_file():
        raise UsageError(f"split.table: there is no file {looked_for(path)}")
    return groups_by_column(read_case_table(path), names, split.group_key, split.table)


def groups_of(split: SplitSettings, record: DatasetRecord) -> dict[str, str]:
    """Return case -> what it belongs to, such as a patient, by `split.*` and by equal images; else the case itself."""
    groups = find_groups(split, record.dataset) or {case.name: case.name for case in record.dataset.cases}
    return join_groups(groups, identical_images(record))


def identical_images(record: DatasetRecord) -> tuple[tuple[str, ...], ...]:
    """Return the cases whose image files hold the same bytes, channel by channel, two or more together."""
    cases = defaultdict(list)
    for case in record.dataset.cases:
        states = [record.files.get(path) for path in case.images]
        if all(states):
            cases[tuple(state.sha256 for state in states if state)].append(case.name)
    return tuple(tuple(names) for names in cases.values() if len(names) > 1)


def how_to_group(cases: FoldCases) -> str:
    """Say what gives groups to a dataset that has none."""
    pattern = guess_group_pattern(cases.names)
    example = f"'split.group_pattern={pattern}', as the names suggest" if pattern else "'split.group_pattern=(P\\d+)_'"
    return (
        f"give a regular expression that finds them in the case names ({example}), or a column of a table "
        f"(split.group_key=patient split.table=FILE.csv); no two images are identical"
    )


def refuse_leaks(split: SplitSettings, folds: tuple[Fold, ...], cases: FoldCases) -> None:
    """Raise `DataError` that names two cases of one group, or with identical images, on both sides of a fold."""
    place = f"{split.file}: " if split.file else ""
    use_groups = "mend the file, or leave it out and use split.kind=group" if split.file else "use split.kind=group"
    leak = find_leak(folds, cases.groups or {})
    if leak:
        raise DataError(
            f"{place}fold {leak.fold} trains on {leak.train} and validates on {leak.val}, "
            f"both of {leak.group!r}; {use_groups}"
        )
    leak = find_leak(folds, {name: twins[0] for twins in cases.twins for name in twins})
    if leak:
        raise DataError(
            f"{place}fold {leak.fold} trains on {leak.train} and validates on {leak.val}, whose image files are "
            f"identical; remove one of the two, or {use_groups}, which keeps identical images on one side"
        )


def warn_of_names(split: SplitSettings, folds: tuple[Fold, ...], cases: FoldCases) -> None:
    """Warn once where no groups are known, but names say that a fold has one patient on both sides."""
    pattern = guess_group_pattern(cases.names) if cases.groups is None else None
    leak = find_leak(folds, groups_by_pattern(cases.names, pattern)) if pattern else None
    if leak:
        kind = "group" if split.kind == "random" else split.kind
        log.warning(
            "the case names look like several images per patient: fold %d trains on %s and validates on %s, so that "
            "its score would be too good. Where that is so%s, use\n  split.kind=%s 'split.group_pattern=%s'",
            *(leak.fold, leak.train, leak.val),
            *(", leave split.file out and" if split.file else "", kind, pattern),
        )
