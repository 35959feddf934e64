"""The folds of a dataset: made by `split.*` or read from a person's file, checked for leaks, kept in splits.json.

splits.json is nnU-Net's plain list and holds no record of what made it: where it differs from what the settings give,
the settings that would have given it are looked for, so that the refusal can name the keys that changed.
"""

import dataclasses
import json
import logging
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from segfw.core.cases.groups import join_groups
from segfw.core.cases.splits import (
    Fold,
    check_splits,
    group_splits,
    leave_one_out_splits,
    listed,
    random_splits,
    stratified_splits,
)
from segfw.core.errors import ArtefactError, DataError, SegfwError, UsageError
from segfw.core.settings.schema import ExperimentSettings, SplitKind, SplitSettings
from segfw.core.support.conversion import from_plain
from segfw.core.support.files import looked_for, write_text
from segfw.core.support.locks import hold
from segfw.core.support.strict_json import load_strict_json
from segfw.stages.dataset.groups import (
    FoldCases,
    LabelPresence,
    gather_cases,
    how_to_group,
    refuse_leaks,
    warn_of_names,
)
from segfw.stages.dataset.raw_folds import chosen_split
from segfw.stages.dataset.record import DatasetRecord
from segfw.workspace import Workspace

log = logging.getLogger(__name__)

KINDS_BY_NAME: tuple[SplitKind, ...] = ("random", "group", "leave_one_out")
"""The kinds whose folds follow from names, groups and a seed, without reading label maps."""

LARGEST_FILE = 2**28
"""Bytes of a file of folds: ten thousand cases in a hundred folds, with names of 20 characters, are a tenth of it."""

FORM = '[{"train": ["case1", ...], "val": ["case2", ...]}, ...]'


def prepare_splits(
    settings: ExperimentSettings, workspace: Workspace, record: DatasetRecord, label_presence: LabelPresence
) -> None:
    """Write splits.json unless it already holds what `split.*` gives; never replace one that a person may have made.

    Raises `DataError` for folds that leak (naming two cases), `UsageError` where splits.json holds other folds.
    """
    before = _state(workspace.splits)
    folds, kept = find_splits(settings, workspace, record, label_presence)
    if kept:
        return
    split = chosen_split(settings)
    with hold(workspace.lock("splits"), "the folds") as lock:
        if _state(workspace.splits) != before:  # another command's, which may hold other folds
            folds, kept = find_splits(settings, workspace, record, label_presence)
            if kept:
                return
        lock.check()
        write_splits(workspace.splits, folds)
    unused = f"; split.num_folds={split.num_folds} is not used" if split.kind == "leave_one_out" else ""
    log.info("splits: wrote %s (%d folds, %s%s)", workspace.splits, len(folds), _in_words(split), unused)


def find_splits(
    settings: ExperimentSettings, workspace: Workspace, record: DatasetRecord, label_presence: LabelPresence
) -> tuple[tuple[Fold, ...], bool]:
    """Return the folds that `split.*` gives, and whether splits.json holds them; raises as `prepare_splits` does."""
    split = chosen_split(settings, tell=True)
    cases = gather_cases(split, record, label_presence)
    if split.file is None:
        folds = _make(split, cases)
    else:
        folds = read_splits(Path(split.file))
        check_splits(folds, cases.names, split.file)
        _tell_coverage(folds, cases.names, dataclasses.replace(settings, split=split))
    refuse_leaks(split, folds, cases)
    warn_of_names(split, folds, cases)
    return folds, _is_kept(workspace, split, folds, cases)


def read_splits(path: Path) -> tuple[Fold, ...]:
    """Read folds in nnU-Net's form, a JSON list of {train, val}; `UsageError` that states the form for another one."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a device never ends, and a pipe waits
            raise UsageError(f"split.file: {path} is no regular file")
        if found.st_size > LARGEST_FILE:
            raise UsageError(
                f"split.file: {path} has {found.st_size} bytes, more than the {LARGEST_FILE} that are read"
            )
        content = load_strict_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"split.file: there is no file {looked_for(path)}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}; expected {FORM}") from error
    try:
        folds = from_plain(tuple[Fold, ...], content, str(path))
    except UsageError as error:
        raise UsageError(f"{error}; expected {FORM}") from error
    if not folds:
        raise UsageError(f"{path} holds no fold; expected {FORM}")
    return folds


def read_own_splits(path: Path, case_names: Iterable[str]) -> tuple[Fold, ...]:
    """Read and check splits.json of our own outputs; `ArtefactError` that says how a damaged one is made anew."""
    try:
        folds = read_splits(path)
        check_splits(folds, case_names, str(path))
    except SegfwError as error:
        raise _damaged(path, error) from error
    return folds


def write_splits(path: Path, folds: tuple[Fold, ...]) -> None:
    """Write folds in nnU-Net's form."""
    write_text(path, json.dumps([{"train": list(f.train), "val": list(f.val)} for f in folds], indent=1) + "\n")


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what tells one file at `path` from another that has taken its name since; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _make(split: SplitSettings, cases: FoldCases) -> tuple[Fold, ...]:
    """Make the folds of `split.kind`. Every kind but nnU-Net's keeps identical images on one side."""
    if split.kind == "random":
        return random_splits(cases.names, split.num_folds, split.seed)
    alone = {name: name for name in cases.names}
    groups = join_groups(alone if cases.groups is None else cases.groups, cases.twins)
    if split.kind == "leave_one_out":
        return leave_one_out_splits(groups)
    if split.kind == "group":
        if cases.groups is None and not cases.twins:
            raise UsageError(f"split.kind=group cannot know the groups: {how_to_group(cases)}")
        return group_splits(groups, split.num_folds, split.seed)
    presence = cases.label_presence()
    missing = sorted(cases.names - presence.keys())
    if missing:
        raise DataError(f"split.kind=stratified: the labels of {len(missing)} cases are not known: {listed(missing)}")
    labels = {name: presence[name] for name in cases.names}
    grouped = cases.groups is not None or cases.twins
    return stratified_splits(labels, split.num_folds, split.seed, groups if grouped else None)


def _tell_coverage(folds: tuple[Fold, ...], names: frozenset[str], settings: ExperimentSettings) -> None:
    """Say what a person's file leaves out."""
    file = settings.split.file
    left_out = sorted(names - _mentioned(folds))
    if left_out:
        log.info("%s leaves %d of %d cases out: %s", file, len(left_out), len(names), listed(left_out))
    if left_out and settings.folds == "full":
        log.warning("folds=full trains on every case, also on the %d that %s leaves out", len(left_out), file)
    times = Counter(name for fold in folds for name in fold.val)
    never, several = len(_mentioned(folds)) - len(times), sum(n > 1 for n in times.values())
    if never or several:
        log.info("%s: %d cases are validated in no fold, %d in several", file, never, several)


def _is_kept(workspace: Workspace, split: SplitSettings, folds: tuple[Fold, ...], cases: FoldCases) -> bool:
    """Whether splits.json holds `folds` already; `UsageError` where it holds others of the same cases."""
    path = workspace.splits
    if not path.exists():
        return False
    try:
        present = read_splits(path)
    except SegfwError as error:
        raise _damaged(path, error) from error
    if present == folds:
        return True
    there = _mentioned(present)
    if there - cases.names or (there < cases.names and _try(split, cases.only(there)) == present):
        log.info("splits: %s is made anew, the dataset's cases changed", path)
        return False
    anew = "to make it anew, delete it (nothing has been trained on it yet)"
    if any(workspace.runs("").glob("*/*/*/*/fold_*")):
        anew = "for other folds give another output_root=, since what is trained, under whatever name=, rests on these"
    raise UsageError(
        f"{path} holds other folds than {_in_words(split)} gives:\n{_differences(split, present, folds, cases)}\n"
        f"to use the file as it is: split.file={path} (and no split.kind); {anew}"
    )


def _damaged(path: Path, error: SegfwError) -> ArtefactError:
    return ArtefactError(f"{error}; delete {path} and it is made anew")


def _differences(split: SplitSettings, present: tuple[Fold, ...], folds: tuple[Fold, ...], cases: FoldCases) -> str:
    """Return a line for each key of `split.*` that changed or, where it cannot be known, for how the folds differ."""
    before = next((made for made in _candidates(split, len(present)) if _try(made, cases) == present), None)
    if before is not None:
        keys = _relevant(before) | _relevant(split)
        rows = [(d.name, getattr(before, d.name), getattr(split, d.name)) for d in dataclasses.fields(split)]
        changed = [(key, old, new) for key, old, new in rows if key in keys and old != new]
        return "\n".join(f"  split.{key}: {_shown(old)} there, {_shown(new)} now" for key, old, new in changed)
    lines = [f"  folds: {len(present)} there, {len(folds)} now"] if len(present) != len(folds) else []
    left_out = sorted(cases.names - _mentioned(present))
    lines += [f"  cases in no fold there: {listed(left_out)}"] if left_out else []
    moved = {name for one, other in zip(present, folds, strict=False) for name in {*one.val} ^ {*other.val}}
    lines += [f"  {len(moved)} of {len(cases.names)} cases are validated by another fold"] if moved else []
    return "\n".join(lines or ["  cases in another order, or other training cases"])


def _candidates(split: SplitSettings, num_folds: int) -> Iterator[SplitSettings]:
    """Yield settings that may have made folds before, the nearest to `split` first."""
    kinds = dict.fromkeys((split.kind, *KINDS_BY_NAME))
    for kind in kinds:
        for seed in dict.fromkeys((split.seed, SplitSettings.seed)):
            yield dataclasses.replace(split, kind=kind, seed=seed, num_folds=num_folds, file=None)


def _try(split: SplitSettings, cases: FoldCases) -> tuple[Fold, ...] | None:
    try:
        return _make(split, cases) if split.file is None else None
    except SegfwError:
        return None


def _relevant(split: SplitSettings) -> set[str]:
    """Return the keys of `split.*` that its folds depend on."""
    if split.file is not None:
        return {"file"}
    if split.kind == "random":
        return {"kind", "num_folds", "seed"}
    given = {key for key in ("group_pattern", "group_key", "table") if getattr(split, key) is not None}
    return {"kind", *given} if split.kind == "leave_one_out" else {"kind", "num_folds", "seed", *given}


def _in_words(split: SplitSettings) -> str:
    keys = [declared.name for declared in dataclasses.fields(split) if declared.name in _relevant(split)]
    return " ".join(f"split.{key}={getattr(split, key)}" for key in keys)


def _shown(value: object) -> str:
    return "not given" if value is None else str(value)


def _mentioned(folds: tuple[Fold, ...]) -> frozenset[str]:
    return frozenset(name for fold in folds for name in (*fold.train, *fold.val))
