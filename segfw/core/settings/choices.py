"""What a command chooses, as values: stages, configurations, folds, devices."""

from collections.abc import Iterable
from typing import Any, Literal

from segfw.core.errors import UsageError
from segfw.core.settings.schema import STAGES, ConfigurationChoice, FoldChoice
from segfw.core.support.conversion import nearest


def unknown_choice(what: str, word: str, known: Iterable[str]) -> UsageError:
    """Return the error for a `word` that is not among the `known` ones, naming the nearest and all."""
    known = list(known)
    return UsageError(f"unknown {what} {word!r}{nearest(word, known) or '.'} There are {', '.join(known)}")


def parse_stages(value: Any) -> tuple[str, ...]:
    """Return the named stages in the order in which they run: `all`, one name, or a list of names."""
    if value == "all":
        return STAGES
    names = _as_list(value)
    if not names:
        raise UsageError(f"stages must be all or some of {list(STAGES)}, got {value!r}")
    for name in names:
        if name not in STAGES:
            raise UsageError(f"stages: {unknown_choice('stage', str(name), STAGES)}")
    return tuple(stage for stage in STAGES if stage in names)


def parse_configurations(value: Any) -> ConfigurationChoice:
    """Return `auto` or the named configurations, each once. Whether the plan offers them is known only later."""
    if value == "auto":
        return "auto"
    names = _as_list(value)
    if not names or not all(isinstance(name, str) and name for name in names) or "auto" in names:
        raise UsageError(f"configurations must be auto or names such as [2d,3d_fullres], got {value!r}")
    return tuple(dict.fromkeys(names))


def parse_folds(value: Any, num_folds: int | None) -> FoldChoice:
    """Return `cv`, `full` or fold numbers, each once. `num_folds`: how many there are, None where only data tell."""
    if value in ("cv", "full"):
        return value  # type: ignore[no-any-return]
    if value == "all" or value == ["all"]:
        raise UsageError(
            "folds=all is ambiguous here: folds=full trains one model on every case, without a validation score "
            "(nnU-Net's `all`); folds=cv, the default, trains every fold of the split"
        )
    allowed = "cv, full, one fold or a list of folds"
    folds = [int(item) if isinstance(item, str) and item.isdecimal() else item for item in _as_list(value)]
    if not folds or not all(isinstance(fold, int) and not isinstance(fold, bool) and fold >= 0 for fold in folds):
        raise UsageError(f"folds must be {allowed} such as [0,1], got {value!r}")
    if num_folds is not None and max(folds) >= num_folds:
        raise UsageError(f"folds must lie between 0 and {num_folds - 1} (split.num_folds={num_folds}), got {value!r}")
    return tuple(dict.fromkeys(folds))


def parse_devices(value: Any, key: str) -> int | Literal["auto"] | tuple[int, ...]:
    """Return `auto`, how many devices of a node are used, or the numbers of those that are."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    listed = tuple(value) if isinstance(value, list | tuple) else None
    if listed and len(set(listed)) == len(listed):
        return listed
    if listed is None and (number == "auto" or (isinstance(number, int) and number >= 1)):
        return number
    raise UsageError(
        f"{key} must be auto, a number of devices, or a list of theirs such as [0,2], got {as_typed(value)!r}"
    )


def parse_members(value: Any, num_folds: int | None = None) -> tuple[int | Literal["full"], ...] | None:
    """Return the folds of a model that shall predict, each once; None for all. Which it has is known only later.

    `num_folds`: how many folds there will be, None where that is not known.
    """
    if value is None:
        return None
    folds = [int(item) if isinstance(item, str) and item.isdecimal() else item for item in _as_list(value)]
    wrong = [fold for fold in folds if fold != "full" and (not isinstance(fold, int) or isinstance(fold, bool))]
    if wrong or not folds or any(isinstance(fold, int) and fold < 0 for fold in folds):
        raise UsageError(f"inference.folds must be a fold, a list of folds such as [0,1], or full, got {value!r}")
    if num_folds is not None and any(fold != "full" and fold >= num_folds for fold in folds):
        raise UsageError(
            f"inference.folds must lie between 0 and {num_folds - 1} (split.num_folds={num_folds}), or be full, "
            f"got {value!r}"
        )
    return tuple(dict.fromkeys(folds))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def as_typed(value: Any) -> Any:
    """Return a value as it is typed: a tuple as a list."""
    return list(value) if isinstance(value, tuple) else value
