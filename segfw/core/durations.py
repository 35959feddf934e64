"""Durations as people say them."""

DAY = 86400.0


def in_words(seconds: float) -> str:
    """Return a duration as people say it: '40 s', '12 min', '3.5 h', '9 days'."""
    for size, unit, digits in ((DAY, "days", 1), (3600.0, "h", 1), (60.0, "min", 0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
