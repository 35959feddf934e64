"""Which configurations are averaged: every pair, every subset, or those that a person lists."""

from collections.abc import Sequence
from itertools import combinations

EnsembleChoice = str | tuple[tuple[str, ...], ...]
"""`pairs`, `all`, `none`, or lists of names."""
CHOICES = ("pairs", "all", "none")


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
