"""Which cases belong together, such as those of one patient: by their names, by a table, or by equal images.

Groups are given as a mapping case -> group.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from segfw.core.cases.splits import listed
from segfw.core.errors import DataError, UsageError

PERSON = r"patient|subject|subj|sub|pat|pid"
SEPARATORS = "_-. "
MIN_GROUPS = 3
"""Fewer stems than these are sites or kinds of image rather than patients."""
FEW, LARGEST_SHARE = 4, 0.1
"""A stem that more cases have in common, and more of all cases than this, is hardly a patient's."""


def group_regex(pattern: str) -> re.Pattern[str]:
    """Return the compiled `split.group_pattern`; `UsageError` if it is no regular expression."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"split.group_pattern={pattern} is no regular expression: {error}") from error


def groups_by_pattern(case_names: Iterable[str], pattern: str) -> dict[str, str]:
    """Group cases by what `pattern` finds first in their names: its first group, or the match where it has none.

    `DataError` that names the cases in whose names it finds nothing, or only an empty text.
    """
    expression = group_regex(pattern)
    groups, without = {}, []
    for name in sorted(case_names):
        match = expression.search(name)
        found = match and ((match[1] if expression.groups else None) or match[0])
        if found:
            groups[name] = found
        else:
            without.append(name)
    if without:
        raise DataError(
            f"split.group_pattern={pattern} finds nothing in {len(without)} of {len(groups) + len(without)} case "
            f"names: {listed(without)}"
        )
    return groups


def groups_by_column(
    table: Mapping[str, Mapping[str, str]], case_names: Iterable[str], column: str, source: str
) -> dict[str, str]:
    """Group cases by a column of `table` (case -> column -> text); rows of other cases are ignored.

    `source` names the table in messages. `UsageError` for a column that it does not have, naming those it has;
    `DataError` for cases without a row or with an empty field.
    """
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    if column not in columns:
        raise UsageError(f"split.group_key={column}: {source} has no such column; it has {columns}")
    names = sorted(case_names)
    missing = [name for name in names if name not in table]
    if missing:
        raise DataError(f"{source} has no row for {len(missing)} of {len(names)} cases: {listed(missing)}")
    groups = {name: table[name].get(column, "").strip() for name in names}
    empty = [name for name, group in groups.items() if not group]
    if empty:
        raise DataError(f"{source}: column {column!r} is empty for {len(empty)} of {len(names)} cases: {listed(empty)}")
    return groups


def join_groups(groups: Mapping[str, str], together: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return `groups` with the groups of cases that must stay `together` made one, under the first of their names."""
    into: dict[str, str] = {}  # group -> an earlier one that it is part of

    def first_of(group: str) -> str:
        way = []
        while group in into:
            way.append(group)
            group = into[group]
        into.update(dict.fromkeys(way, group))
        return group

    for cases in together:
        joined = {first_of(groups[case]) for case in cases}
        first = min(joined)
        into |= dict.fromkeys(joined - {first}, first)
    return {case: first_of(group) for case, group in groups.items()}


def guess_group_pattern(case_names: Iterable[str]) -> str | None:
    """Return a `split.group_pattern` where the names plainly are several per patient, else None.

    Plainly: what stands before the last separator holds a number (patient001_frame01) and is shared by few cases
    each, for most of the cases; what stands after it begins with a letter, but does not name a patient or case itself
    (site1_patient003). A mere number after it counts the cases of a dataset (case_1_2) as often as the images of a
    patient, so that it is taken for the latter only after a word for a person (patient1_2).
    """
    names = sorted(case_names)
    for separator in SEPARATORS:
        parts = [(stem, rest) for stem, found, rest in (name.rpartition(separator) for name in names) if found]
        sizes = Counter(stem for stem, _ in parts)
        several = [(stem, rest) for stem, rest in parts if sizes[stem] > 1]
        few = max(sizes.values(), default=0) <= max(FEW, LARGEST_SHARE * len(names))
        most = len(several) > len(names) / 2 and len(sizes) >= MIN_GROUPS
        if most and few and all(_is_one_of_several(stem, rest) for stem, rest in several):
            literal = separator.replace(".", r"\.")
            return f"(.+){literal}" if len(parts) == len(names) else f"(.+){literal}|.+"
    return None


def _is_one_of_several(stem: str, rest: str) -> bool:
    """Whether a name made of `stem`, a separator and `rest` reads as one image, `rest`, of the patient `stem`."""
    if not re.search(r"\d", stem) or re.match(rf"(?i)({PERSON}|case)[-_ ]?\d", rest):
        return False
    return bool(re.match(r"[^\W\d_]", rest) or re.search(rf"(?i)(?<![a-z])({PERSON})[-_ ]?\d+$", stem))
