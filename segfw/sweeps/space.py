"""What a sweep varies: keys and their ranges, written as Hydra's `choice`, `range` and `interval`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from segfw.core.errors import UsageError

Value = float | int | str


@dataclass(frozen=True)
class Choice:
    """One of several values, as they are written on a command line."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"choice({','.join(self.values)})"


@dataclass(frozen=True)
class Interval:
    """A number between `low` and `high`, both included; `log`: by its order of magnitude; `step`: from low in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    def __str__(self) -> str:
        kind = [word for word, holds in (("log", self.log), ("int", self.integer)) if holds]
        step = [] if self.step is None else [f"step {self.step:g}"]
        return " ".join([f"interval({self.low:g},{self.high:g})", *kind, *step])


Dimension = Choice | Interval
PLACE = "hydra.sweeper.params"


@dataclass(frozen=True)
class Space:
    """Key -> what it may be, and the overrides that all trials share; `spelt`: key -> as it is given, plus included."""

    dimensions: Mapping[str, Dimension]
    fixed: tuple[Override, ...]
    spelt: Mapping[str, str]

    def overrides(self, values: Mapping[str, Value]) -> list[str]:
        """Return the command line of a trial with `values`."""
        drawn = [f"{self.spelt[key]}={written(value)}" for key, value in values.items()]
        return [*(str(each.input_line) for each in self.fixed), *drawn]


def written(value: Value) -> str:
    """Write a value as Hydra reads it back: a float with all its digits."""
    return repr(value) if isinstance(value, float) else str(value)


def param_texts(params: Mapping[str, Any] | None) -> dict[str, str]:
    """Return key -> what it may be, nested keys joined by dots; null takes a key out. `UsageError` for a list."""
    texts = dict(_flat(params or {}, ""))  # of a key given dotted in a file and nested on a command line, the latter
    return {key: text for key, text in texts.items() if text is not None}


def _flat(params: Mapping[str, Any], place: str) -> Iterator[tuple[str, str | None]]:
    for name, value in params.items():
        key = f"{place}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            raise UsageError(f"{PLACE}.{key} must be text such as choice(a,b) or interval(0,1), got a list: {value}")
        elif isinstance(value, bool):
            yield key, str(value).lower()
        else:
            yield key, None if value is None else str(value)


def searched_keys(params: Mapping[str, Any] | None) -> set[str]:
    """Return the keys of `hydra.sweeper.params` as jobs have them, without pluses."""
    return {key.lstrip("+") for key in param_texts(params)}


def make_space(parser: OverridesParser, params: Mapping[str, Any] | None, arguments: Sequence[str]) -> Space:
    """Divide `params` and a command line into what is searched and what is fixed; the command line has the last word.

    Raises `UsageError` where nothing is left to search, or a range cannot be searched.
    """
    texts = param_texts(params)
    given: dict[str, Override] = {}
    for key, text in texts.items():
        try:
            (override,) = parser.parse_overrides([f"{key}={text}"])
        except HydraException as error:
            raise UsageError(f"{PLACE}.{key} cannot be read: {text!r}; {' '.join(str(error).split())}") from error
        given[override.key_or_group] = override
    given |= {override.key_or_group: override for override in parser.parse_overrides(list(arguments))}
    searched = {key: override for key, override in given.items() if override.is_sweep_override()}
    if not searched:
        raise UsageError(f"nothing to search: give {PLACE}.optimizer.lr='interval(1e-3,1e-2)' or lr=choice(...)")
    return Space(
        dimensions={key: _dimension(key, override) for key, override in searched.items()},
        fixed=tuple(override for key, override in given.items() if key not in searched),
        spelt={key: override.get_key_element() for key, override in searched.items()},
    )


def _dimension(key: str, override: Override) -> Dimension:
    if key == "folds":
        raise UsageError(
            f"folds must be the same in every trial: folds=[0,1] trains both in each, got {_text(override)!r}"
        )
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(key, override, value)
    if isinstance(value, RangeSweep):
        return _steps(key, override, value)
    choices = tuple(dict.fromkeys(override.sweep_string_iterator()))
    if not choices:
        raise UsageError(f"{key} has nothing to choose from: {_text(override)!r}")
    return Choice(choices)


def _interval(key: str, override: Override, value: IntervalSweep) -> Interval:
    low, high, log = float(value.start or 0), float(value.end or 0), "log" in value.tags
    unknown = value.tags - {"log"}
    if unknown or not math.isfinite(low + high) or low >= high or (log and low <= 0):
        above = ", above 0 with the tag log, which is the only one" if log or unknown else ""
        raise UsageError(f"{key} must be an interval(low,high) with low below high{above}, got {_text(override)!r}")
    return Interval(low, high, log, integer=isinstance(value.start, int) and isinstance(value.end, int))


def _steps(key: str, override: Override, value: RangeSweep) -> Interval:
    numbers = sorted(float(number) for number in value.range())
    if len(numbers) < 2:
        raise UsageError(f"{key} must be a range of two numbers or more, got {_text(override)!r}")
    integer = all(number.is_integer() for number in numbers)
    return Interval(numbers[0], numbers[-1], step=abs(float(value.step)), integer=integer)


def _text(override: Override) -> str:
    return str(override.input_line).partition("=")[2]
