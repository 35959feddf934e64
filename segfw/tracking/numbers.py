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


def number(value: float | None, digits: int) -> str:
    """Write `digits` significant digits, below 1 in size as many decimals; a dash for none or NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:.{digits}f}" if abs(value) < 1 else f"{value:.{digits}g}"


def decimals(value: float | None, digits: int = 4) -> str:
    """Write a share with so many decimals; a dash for none or NaN."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
