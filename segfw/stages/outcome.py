"""What became of a case that was worked on somewhere else."""

import traceback
from dataclasses import dataclass
from typing import Generic, TypeVar

from segfw.core.errors import SegfwError

R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """Why a case failed. `trace`: of an error that nobody foresaw, else empty."""

    reason: str
    trace: str = ""


def failure_of(error: BaseException) -> Failure:
    """Say why a case failed: in the error's own words, or for one that nobody foresaw in a line and its traceback."""
    if isinstance(error, SegfwError):
        return Failure(str(error))
    reason = f"unexpected {type(error).__name__}: {error}".splitlines()[0]
    return Failure(reason, "".join(traceback.format_exception(error)))


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of a case: a result, or a failure."""

    result: R | None = None
    failure: Failure | None = None
