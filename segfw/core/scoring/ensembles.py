"""Which configurations are averaged: every pair, every subset, or those that a person lists."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from segfw.core.errors import UsageError
from segfw.core.support.conversion import nearest

EnsembleChoice = str | tuple[tuple[str, ...], ...]
"""`pairs`, `all`, `none`, or lists of names."""
CHOICES = ("pairs", "all", "none")


def parse_ensembles(value: Any) -> EnsembleChoice:
    """Return `pairs`, `all`, `none`, or the lists of names; whether they are finished is known only later."""
    if isinstance(value, str) and value in CHOICES:
        return value
    if isinstance(value, list | tuple) and all(_is_ensemble(members) for members in value):
        return tuple(tuple(members) for members in value)
    near = nearest(value, CHOICES) if isinstance(value, str) else ""
    raise UsageError(
        f"selection.ensembles must be pairs, all, none or lists of two or more names such as [[2d,3d_fullres]], "
        f"got {value!r}{near}"
    )


def ensembles_of(names: Sequence[str], choice: EnsembleChoice) -> list[tuple[str, ...]]:
    """Return the members of each ensemble of the candidates `names` (planner/network/configuration), in their order.

    Small ones come first. In a list of a person's, a configuration alone stands for every candidate that ends in it; a
    name that is none of the candidates' is returned as it is.
    """
    if isinstance(choice, str):
        largest = {"none": 0, "pairs": 2, "all": len(names)}[choice]
        return [members for size in range(2, largest + 1) for members in combinations(names, size)]
    found = [tuple(name for word in wanted for name in _meant(word, names)) for wanted in choice]
    return list(dict.fromkeys(tuple(dict.fromkeys(members)) for members in found))


def name_of(members: Sequence[str]) -> str:
    """Return the name of the ensemble of `members`."""
    return " + ".join(members)


def _meant(word: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name == word or name.rsplit("/", 1)[-1] == word] or [word]


def _is_ensemble(members: Any) -> bool:
    names = isinstance(members, list | tuple) and all(isinstance(name, str) and name for name in members)
    return names and len(set(members)) > 1
