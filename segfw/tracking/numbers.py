"""Numbers as the page writes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NOTHING = "–"


@dataclass(frozen=True)
class Distribution:
    """Of the defined values: their number, mean, standard deviation, and the smallest, quartiles and largest."""

    count: int
    mean: float
    std: float
    low: float
    first: float
    median: float
    third: float
    high: float


def distribution(values: Sequence[float]) -> Distribution | None:
    """Describe the values that are not NaN (quartiles interpolated linearly); None without any."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return None
    mean = sum(known) / len(known)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
    first, median, third = (_quantile(known, share) for share in (0.25, 0.5, 0.75))
    return Distribution(len(known), mean, deviation, known[0], first, median, third, known[-1])


def aligned(values: Sequence[float | None], digits: int) -> list[str]:
    """Write a column, all with as many decimals: the largest has `digits` significant digits, or all it needs.

    Below 1 there are as many decimals. A dash for none or NaN.
    """
    known = [value for value in values if value is not None and not math.isnan(value)]
    largest = max(map(abs, known), default=0.0)
    places = max(0, digits - (len(str(int(largest))) if largest >= 1 else 0))
    while places and all(float(f"{v:.{places}f}") == float(f"{v:.{places - 1}f}") for v in known):
        places -= 1
    return [decimals(value, places) for value in values]


def decimals(value: float | None, digits: int = 4) -> str:
    """Write a number with so many decimals; a dash for none or NaN."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
