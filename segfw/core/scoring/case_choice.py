"""Which cases to look at: the worst, the best and those at the quartiles between them."""

import math
from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")
ROLES = (("worst", 0.0), ("best", 1.0), ("median", 0.5), ("lower quartile", 0.25), ("upper quartile", 0.75))
"""What a case is called and its place in the order from the worst to the best; where cases are few the first counts."""


def choose_cases(scores: Mapping[K, float]) -> dict[str, K]:
    """Return role -> key of at most five cases, each once, by ascending score; of few cases the outer roles first.

    Scores of NaN are left out unless there is nothing else. Equal scores keep their order.
    """
    known = [key for key, score in scores.items() if not math.isnan(score)]
    ordered = sorted(known, key=lambda key: scores[key]) or list(scores)[:1]
    if not ordered:
        return {}
    if len(ordered) == 1:
        return {"only case": ordered[0]}
    chosen: dict[int, str] = {}
    for role, share in ROLES:
        chosen.setdefault(math.floor(share * (len(ordered) - 1)), role)
    return {chosen[position]: ordered[position] for position in sorted(chosen)}
