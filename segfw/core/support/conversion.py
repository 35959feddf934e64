"""Frozen dataclasses to plain containers and back, strictly: what does not fit is refused with its place."""

import dataclasses
import difflib
import functools
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from segfw.core.errors import SegfwError, UsageError

T = TypeVar("T")
LARGEST_INTEGER = 2**63 - 1
"""What arrays, files and libraries hold without loss; numbers of any length are read of a text."""
_SCALARS = frozenset({str, int, float, bool, type(None)})
_AS_THEY_ARE = frozenset({str, bool, float})
"""Types whose values need no look but at their type."""


def to_plain(value: Any) -> Any:
    """Turn dataclasses, tuples and mappings into dicts, lists and scalars that YAML and JSON can hold."""
    if type(value) in _SCALARS:  # first, as most of what there is
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def from_plain(kind: type[T], plain: Any, place: str = "") -> T:
    """Build `kind` from plain containers. `place` is the dotted key of `plain`, for messages.

    Raises `UsageError` for an unknown key (naming the nearest known one), a missing key, or a value of the wrong type.
    """
    return typing.cast(T, _convert(kind, plain, place))


def nearest(word: str, known: typing.Iterable[str], likeness: float = 0.5) -> str:
    """Return ", did you mean 'x'?" for the closest known word, or an empty string.

    `likeness`: the least share of letters in common; words of one's own are seldom so like a known one as 0.8, which
    is a letter or two astray.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=likeness)
    return f", did you mean {close[0]!r}?" if close else ""


def changed_keys(before: typing.Mapping[str, Any], now: typing.Mapping[str, Any]) -> list[str]:
    """Return, in order, the keys that have another value now, are new or are gone."""
    return sorted(key for key in {*before, *now} if before.get(key) != now.get(key))


def _convert(kind: Any, plain: Any, place: str) -> Any:
    if type(plain) is kind and kind in _AS_THEY_ARE:
        return plain
    if kind is Any:
        return plain
    origin, arguments, is_record = _taken_apart(kind)
    if is_record:
        return _convert_dataclass(typing.cast(type, kind), plain, place)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, plain, place)
    if origin is Literal:
        if plain not in arguments:
            raise UsageError(
                f"{place or 'value'} must be one of {list(arguments)}, got {plain!r}{_near(plain, arguments)}"
            )
        return plain
    if origin is tuple:
        return _convert_tuple(arguments, plain, place)
    if origin is dict:
        if not isinstance(plain, dict):
            raise _wrong(place, "a mapping", plain)
        name, held = arguments
        return {_convert_key(name, key, place): _convert(held, item, f"{place}.{key}") for key, item in plain.items()}
    return _convert_scalar(kind, plain, place)


@functools.cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Return name -> (type, whether it must be given), looked up once: of small records that takes most of the time."""
    hints, missing = get_type_hints(kind), dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    }


@functools.cache
def _taken_apart(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Return a type's origin and arguments, and whether it is a dataclass."""
    return get_origin(kind), get_args(kind), dataclasses.is_dataclass(kind)


def _convert_dataclass(kind: type, plain: Any, place: str) -> Any:
    if not isinstance(plain, dict):
        raise _wrong(place, f"a mapping of {kind.__name__}", plain)
    fields = _fields(kind)
    for key in plain:
        if key not in fields:
            dotted = f"{place}.{key}" if place else str(key)
            raise UsageError(f"unknown key {dotted!r}{nearest(str(key), fields)}")
    values = {}
    for name, (held, required) in fields.items():
        dotted = f"{place}.{name}" if place else name
        if name in plain:
            values[name] = _convert(held, plain[name], dotted)
        elif required:
            raise UsageError(f"missing key {dotted!r}")
    try:
        return kind(**values)
    except SegfwError as error:
        if place:
            joint = "." if str(error).split(" ")[0] in fields else ": "
            raise type(error)(f"{place}{joint}{error}") from error
        raise


def _convert_union(arguments: tuple[Any, ...], plain: Any, place: str) -> Any:
    if plain is None and type(None) in arguments:
        return None
    first: UsageError | None = None
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _convert(argument, plain, place)
        except UsageError as error:
            first = first or error
    raise first or _wrong(place, "a value", plain)


def _convert_tuple(arguments: tuple[Any, ...], plain: Any, place: str) -> Any:
    if not isinstance(plain, list | tuple):
        raise _wrong(place, "a list", plain)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_convert(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(plain))
    if len(plain) != len(arguments):
        raise UsageError(f"{place or 'value'} needs {len(arguments)} entries, got {len(plain)}: {plain!r}")
    return tuple(
        _convert(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(zip(arguments, plain, strict=True))
    )


def _convert_key(kind: type, key: Any, place: str) -> Any:
    """Return a mapping's key as text or, where integers are wanted, as the integer that it is or spells."""
    if kind is not int:
        return str(key)
    try:
        return int(key)
    except (TypeError, ValueError):
        raise _wrong(f"{place}: a key", "an integer", key) from None


def _convert_scalar(kind: type, plain: Any, place: str) -> Any:
    if kind is float and isinstance(plain, int | float) and not isinstance(plain, bool):
        return _float(place, plain)
    if kind is float and isinstance(plain, str) and _is_number(plain):
        return float(plain)  # YAML 1.1 reads 1e-5 as text
    if kind is int and isinstance(plain, int | float) and not isinstance(plain, bool) and plain == plain // 1:
        return _int(place, int(plain))
    if isinstance(plain, kind) and kind is not int:
        return plain
    raise _wrong(
        place,
        {float: "a number", int: "an integer", str: "text", bool: "true or false"}.get(kind, kind.__name__),
        plain,
    )


def _int(place: str, plain: int) -> int:
    if not -LARGEST_INTEGER <= plain <= LARGEST_INTEGER:
        raise UsageError(f"{place or 'value'} must be an integer of at most 2^63 - 1, got a larger one")
    return plain


def _float(place: str, plain: int | float) -> float:
    try:
        return float(plain)
    except OverflowError:
        raise UsageError(f"{place or 'value'} must be a number below 1e308, got a larger one") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _near(plain: Any, known: tuple[Any, ...]) -> str:
    return nearest(plain, [str(k) for k in known]) if isinstance(plain, str) else ""


def _wrong(place: str, wanted: str, plain: Any) -> UsageError:
    return UsageError(f"{place or 'value'} must be {wanted}, got {plain!r}")
