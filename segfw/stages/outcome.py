"""What became of a case that was worked on somewhere else."""

from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """Why a case failed. `trace`: of an error that nobody foresaw, else empty."""

    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of a case: a result, or a failure."""

    result: R | None = None
    failure: Failure | None = None
