"""Numbers as people write them: counts, extents, durations, amounts of memory, and numbers set against one another."""

import sys
from collections.abc import Callable, Iterable, Sequence

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86400.0, 365.25 * 86400.0


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: 'no case', '1 case', '2 cases', '3 processes'."""
    if count <= 1:
        return f"{count or 'no'} {noun}"
    return f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def by(values: Iterable[float], sign: str = " x ") -> str:
    """Write extents and spacings one beside the other: '40 x 56 x 40'; fractions to six digits."""
    return sign.join(str(value) if isinstance(value, int) else f"{value:.6g}" for value in values)


def in_words(seconds: float) -> str:
    """Return a duration as people say it: '40 s', '12 min', '3.5 h', '9.0 days', '2.5 years'."""
    for size, unit, digits in ((YEAR, "years", 1), (DAY, "days", 1), (HOUR, "h", 1), (MINUTE, "min", 0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def readable_size(amount: float) -> str:
    """Write bytes with three significant digits, in powers of ten: '940 kB', '85.6 MB', '1.30 GB'."""
    return _scaled(amount, ("B", "kB", "MB", "GB", "TB"))


def readable_count(amount: float) -> str:
    """Write a large number with three significant digits: '940', '21.7 k', '5.60 M'."""
    return _scaled(amount, ("", "k", "M", "G", "T"))


def _scaled(amount: float, units: Sequence[str]) -> str:
    """Write an amount in the largest of the units, each a thousand of the one before, that leaves 1 or more."""
    power = max((n for n in range(len(units)) if amount >= 0.9995 * 1000**n), default=0)
    value = amount / 1000**power
    digits = 0 if power == 0 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {units[power]}".rstrip()


def weighed(holds: Callable[..., bool], *numbers: float, digits: int = 6) -> list[str]:
    """Write numbers that a sentence compares, with so many more digits that the numbers as written compare alike."""
    for enough in range(digits, sys.float_info.dig + 3):
        written = [f"{number:.{enough}g}" for number in numbers]
        if holds(*map(float, written)) == holds(*numbers):
            break
    return written
