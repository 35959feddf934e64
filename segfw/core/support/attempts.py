"""Errors of every kind, for those who must know of one whatever it is; nothing else in the package catches them all.

    attempt(call)               the error is a value, and the work goes on: of one case among many, or of a service
    with on_error(look): ...    the error is looked at on its way, for a note or to give something back, and goes on

Unless another `kind` is given they are about `Exception`: Ctrl-C and `SystemExit` pass by both.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Attempt(Generic[R]):
    """What a call has come to: what it returned, or the `error` that ended it."""

    returned: R | None = None
    error: BaseException | None = None

    def result(self) -> R:
        """Return what the call returned, or raise its error."""
        if self.error is not None:
            raise self.error
        return self.returned  # type: ignore[return-value]  # None only where R allows it


def attempt(call: Callable[[], R], kind: type[BaseException] = Exception) -> Attempt[R]:
    """Call, and return what has become of it; an error of another `kind` is raised as ever.

    With `kind=BaseException` nothing is raised: for a thread, whose errors would reach nobody.
    """
    try:
        return Attempt(returned=call())
    except BaseException as error:
        if not isinstance(error, kind):
            raise
        return Attempt(error=error)


def on_error(
    look: Callable[[BaseException], object], kind: type[BaseException] = Exception
) -> AbstractContextManager[None, None]:
    """Call `look` with the error that ends the block; it goes on then, or gives way to what `look` raises instead."""
    return _OnError(look, kind)


class _OnError:
    def __init__(self, look: Callable[[BaseException], object], kind: type[BaseException]) -> None:
        self._look, self._kind = look, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._kind):
            self._look(error)
