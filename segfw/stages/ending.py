"""The one line that ends a stage: what was written and where, or that there was nothing to do."""

import logging
from dataclasses import dataclass
from pathlib import Path

from segfw.core.support.words import in_words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageEnd:
    """What a stage leaves at `places`. `what`: they are, if they were written, else why there was nothing to do."""

    places: tuple[Path, ...]
    what: str
    wrote: bool


def wrote(what: str, *places: Path) -> StageEnd:
    """Return the end of a stage that has written."""
    return StageEnd(places, what, True)


def nothing_to_do(*places: Path, why: str = "") -> StageEnd:
    """Return the end of a stage that has found all up to date, or as `why` says."""
    return StageEnd(places, why or f"{'is' if len(places) == 1 else 'are'} up to date", False)


def tell_end(stage: str, end: StageEnd, seconds: float) -> None:
    """Log the line."""
    places = " and ".join(map(str, end.places))
    if end.wrote:
        log.info("%s: wrote %s (%s) in %s", stage, places, end.what, in_words(seconds))
    else:
        log.info("%s: nothing to do, %s %s", stage, places, end.what)
