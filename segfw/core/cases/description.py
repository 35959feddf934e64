"""What is stated of a dataset, by its own files and over them by the task's settings, as values.

Label values, regions and their painting order are stated as they are in the files; `remap` renumbers all of them, and
the files when they are read.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from segfw.core.cases.dataset import Window
from segfw.core.cases.modality import channels_of_modality, find_modality, find_scheme, find_window
from segfw.core.errors import DataError, SegfwError, UsageError
from segfw.core.imaging.normalization import scheme_for_channel
from segfw.core.labels import (
    BACKGROUND,
    IGNORE,
    LabelKey,
    LabelSet,
    check_consecutive,
    example_order,
    members,
    refuse_synonyms,
    region_order,
)
from segfw.core.settings.schema import TaskSettings

T = TypeVar("T")
Values = dict[str, int | LabelKey]
CHANNEL_KEYS = ("channel_names", "channels", "modality")
EVALUATED_REMAP = "remap"
"""The key of `evaluate`, as a place."""
READER = "overwrite_image_reader_writer"
READERS_LIKE_OURS = ("SimpleITKIO", "NibabelIO", "NaturalImage2DIO", "Tiff3DIO")
"""nnU-Net's readers that take a file's axes as they are stored."""


@dataclass(frozen=True)
class Description:
    """What the task's settings state over what a file states. `file`: its name, for messages."""

    task: TaskSettings
    content: dict[str, Any]
    file: str

    def value(self, key: str) -> tuple[Any, str]:
        """Return what is stated under `key` (None if nothing is), and where: `task.KEY` or `KEY in FILE`."""
        given = getattr(self.task, key)
        return (self.content.get(key), f"{key} in {self.file}") if given is None else (given, f"task.{key}")


def stated_channels(description: Description, columns: tuple[str, ...] = (), num_files: int = 1) -> tuple[str, ...]:
    """Return the channels' names in the order in which they are written, that of the normalization schemes (nnU-Net's).

    `columns`: names that a table's header gives; `num_files`: per case, as many channels of `task.modality`.
    `UsageError` where neither the files nor the task names any.
    """
    if description.task.channels:
        return description.task.channels
    for key in CHANNEL_KEYS:
        stated = description.content.get(key)
        if isinstance(stated, dict | list) and stated:
            return tuple(str(name) for name in (stated.values() if isinstance(stated, dict) else stated))
    if columns:
        return columns
    word, place = description.value("modality")
    if isinstance(word, str):
        return _found(place, channels_of_modality, word, num_files)
    kind = DataError if any(description.content.get(key) for key in CHANNEL_KEYS) else UsageError
    raise kind(f"{description.file} names no channels (channel_names or modality); give task.channels=[CT] or the like")


def unused_modality(description: Description, channels: tuple[str, ...]) -> str | None:
    """Say that `task.modality` is overruled by names that ask for another normalization; None if all agree."""
    task = description.task
    if task.modality is None or task.channels or task.normalization is not None:
        return None
    wanted = scheme_for_channel(find_modality(task.modality, "task.modality"))
    schemes = [scheme_for_channel(name) for name in channels]
    if wanted in schemes:
        return None
    return (
        f"task.modality={task.modality} is not used: {description.file} names the channels {list(channels)}, which are "
        f"normalized as {schemes}; overrule that with task.channels or task.normalization, one entry per channel"
    )


def unused_reader(description: Description) -> str | None:
    """Say that a reader of nnU-Net's which the file names is not used; None for those that read as ours does."""
    reader = description.content.get(READER)
    if reader in (None, "None", *READERS_LIKE_OURS):
        return None
    return (
        f"{READER} in {description.file} asks for {reader!r}, which is not used: images are read as they are stored "
        f"(like {', '.join(READERS_LIKE_OURS)}), not turned into one orientation. If the cases differ in orientation, "
        "turn the files into one beforehand"
    )


def stated_labels(description: Description) -> tuple[LabelSet, dict[int, int]]:
    """Return the labels, renumbered, and what renumbers the files: old value -> new value.

    What contradicts itself is at fault as usage where the task states it, else as data; the message names the place.
    Where nothing is stated, the task has yet to state it.
    """
    remap_place = description.value("remap")[1]
    remap = read_remap(*description.value("remap"))
    regions, place = description.value("regions")
    if regions is None:
        stated, place = description.value("labels")
        if stated is None:
            raise UsageError(
                f"{description.file} declares no labels; give task.labels, each with its value in the files, such as "
                "'task.labels={background: 0, liver: 1}'"
            )
        values = _values(stated, place)
    else:
        values = _with_regions(_values(regions, place), description, remap)
    renumbered = {name: _renumbered(value, remap) for name, value in values.items()}
    _refuse_merged(values, renumbered, remap_place)
    painted = _painted(description, place, values, remap)
    try:
        refuse_synonyms(values)
        if remap and renumbered.get(BACKGROUND) == 0:
            learned = {value for name, stated in renumbered.items() if name != IGNORE for value in members(stated)}
            ignore = renumbered.get(IGNORE)
            in_files = {value for stated in values.values() for value in members(stated)}
            sources = {value: remap.get(value, value) for value in in_files} | remap
            check_consecutive(sorted(learned), ignore if isinstance(ignore, int) else None, sources)
        return LabelSet(renumbered, painted), remap
    except DataError as error:
        overruled = remap and not place.startswith("task.") and remap_place.startswith("task.")
        kind = UsageError if overruled or place.startswith("task.") else DataError
        raise kind(f"{f'{remap_place}, over {place}' if overruled else place}: {error}") from error


def _painted(description: Description, place: str, values: Values, remap: dict[int, int]) -> tuple[int, ...] | None:
    """Return the value to paint for each region as stated, else as nesting tells; None where there is no region.

    A dataset.json must state it, as nnU-Net has it; `LabelSet` asks for it then.
    """
    order, order_place = description.value("regions_class_order")
    if place == "task.regions":
        order = description.task.regions_class_order  # the file's belongs to its own regions
    stated = _integers(order, order_place)
    learned = {n: members(v) for n, v in values.items() if n != IGNORE and _renumbered(v, remap) not in (0, (0,))}
    if stated is not None:
        if len(stated) != len(learned) and any(len(region) > 1 for region in learned.values()):
            raise _wrong(order_place, f"needs one value for each of the regions {list(learned)}, got {list(stated)}")
        return tuple(remap.get(value, value) for value in stated)
    derives = place.startswith(("task.", "regions in "))
    if not derives or not any(len(region) > 1 for region in learned.values()):
        return None
    renumbered = [members(_renumbered(region, remap)) for region in learned.values()]
    painted = region_order(renumbered)
    if painted is not None:
        return painted
    names = list(learned)
    for position, inner in enumerate(renumbered):
        for later, outer in enumerate(renumbered[position + 1 :], position + 1):
            if set(inner) < set(outer):
                raise _wrong(
                    place,
                    f"states {names[position]!r} before {names[later]!r}, which holds it and would be painted over it; "
                    f"state {names[later]!r} first",
                )
    key = "task.regions_class_order" if place.startswith("task.") else "regions_class_order"
    raise _wrong(
        place,
        f"does not tell which value to paint for each of {names}, which overlap or leave one of them no value of its "
        f"own; state them in the values of the files, as in {key}={list(example_order(list(learned.values())))}",
    )


def stated_normalization(description: Description) -> tuple[str | None, ...]:
    """Return a scheme per channel, None where its name decides; empty where names decide everywhere."""
    stated, place = description.value("normalization")
    if stated is None:
        return ()
    if not isinstance(stated, list | tuple) or not all(word is None or isinstance(word, str) for word in stated):
        raise _wrong(place, f"must list a scheme (or null) for each channel, got {stated!r}")
    schemes = tuple(None if word is None else _found(place, find_scheme, word) for word in stated)
    return schemes if any(schemes) else ()


def stated_window(description: Description) -> Window | None:
    """Return the CT window, or None where the data decide."""
    stated, place = description.value("window")
    return None if stated is None else _found(place, find_window, stated)


def stated_number(description: Description, found: int) -> int:
    """Return how many cases the file claims (it enters the batch-size rule), else the number `found`."""
    declared = description.content.get("numTraining", found)
    if type(declared) is not int or declared < 1:
        raise DataError(f"numTraining in {description.file} must be a number of cases, got {declared!r}")
    return declared


def _values(declared: Any, place: str) -> Values:
    """Return name -> value or values; the Decathlon's value -> name is turned round."""
    if not isinstance(declared, dict) or not declared:
        raise _wrong(place, f"must map names to values, such as {{background: 0, liver: 1}}, got {declared!r}")
    if all(str(key).isdigit() and isinstance(value, str) for key, value in declared.items()):
        declared = {name: int(value) for value, name in declared.items()}
    return {str(name): _value(name, value, place) for name, value in declared.items()}


def _value(name: str, value: Any, place: str) -> int | LabelKey:
    if isinstance(value, list | tuple):
        return _integers(value, place, f" for {name!r}") or ()
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(place, f"must give {name!r} an integer or a list of integers, got {value!r}")
    return value


def _integers(value: Any, place: str, whose: str = "") -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or not all(type(item) is int for item in value):
        raise _wrong(place, f"must be a list of integers{whose}, got {value!r}")
    return tuple(value)


def _with_regions(regions: Values, description: Description, remap: dict[int, int]) -> Values:
    """Return background, the regions and the ignore label; together they must cover what the labels declare."""
    stated, labels_place = description.value("labels")
    place = description.value("regions")[1]
    labels = {} if stated is None else _values(stated, labels_place)
    learned = {name: value for name, value in regions.items() if name not in (BACKGROUND, IGNORE)}
    if not any(len(members(value)) > 1 for value in learned.values()):
        raise _wrong(place, f"must hold a region of several values, got {regions}; single values are labels")
    inside = {value for region in learned.values() for value in members(region)}
    declared = {v: name for name, value in labels.items() if name not in (BACKGROUND, IGNORE) for v in members(value)}
    unknown = sorted(inside - set(declared)) if labels else []
    if unknown:
        raise _wrong(place, f"names the values {unknown}, but {labels_place} has only {sorted(declared)}")
    left = {name: v for v, name in declared.items() if v not in inside and remap.get(v, v) != 0}
    if left:
        value = next(iter(left.values()))
        raise _wrong(
            place, f"leaves out {left}; add regions that hold them, or make them background: task.remap={{{value}: 0}}"
        )
    ignore = regions.get(IGNORE, labels.get(IGNORE))
    background = regions.get(BACKGROUND, labels.get(BACKGROUND, 0))
    return {BACKGROUND: background, **learned, **({} if ignore is None else {IGNORE: ignore})}


def read_remap(stated: Any, place: str) -> dict[int, int]:
    """Return old value -> new value, those that stay left out. Keys may be spelled as text."""
    if stated is None:
        return {}
    if not isinstance(stated, dict):
        raise _wrong(place, f"must map values in the files to new ones, such as {{4: 3}}, got {stated!r}")
    remap: dict[int, int] = {}
    for old, new in stated.items():
        if isinstance(old, bool) or not re.fullmatch(r"-?\d+", str(old).strip()):
            raise _wrong(place, f"must map integers to integers, such as {{4: 3}}, got the key {old!r}")
        if type(new) is not int or new < 0:
            raise _wrong(place, f"must map to integers of at least 0, got {new!r} for {old}")
        if remap.setdefault(int(old), new) != new:
            raise _wrong(place, f"maps {old} twice, to {remap[int(old)]} and {new}")
    return {old: new for old, new in remap.items() if old != new}


def _renumbered(value: int | LabelKey, remap: dict[int, int]) -> int | LabelKey:
    """Return the value or values as they will be; a region's values that fall together count once."""
    if isinstance(value, tuple):
        return tuple(dict.fromkeys(remap.get(member, member) for member in value))
    return remap.get(value, value)


def _refuse_merged(values: Values, renumbered: Values, place: str) -> None:
    """Raise an error where renumbering makes one of two labels: which name should it have?"""
    seen: dict[frozenset[int], str] = {}
    for name, value in renumbered.items():
        other = seen.setdefault(frozenset(members(value)), name)
        if other != name and set(members(values[other])) != set(members(values[name])):
            kept = {n: list(v) if isinstance(v, tuple) else v for n, v in values.items() if n != name}
            shown = ", ".join(f"{n}: {v}" for n, v in kept.items())
            raise _wrong(
                place,
                f"gives {other!r} ({values[other]}) and {name!r} ({values[name]}) the same value {value}; "
                f"declare one name for both, such as 'task.labels={{{shown}}}'",
            )


def _found(place: str, find: Callable[..., T], *arguments: Any) -> T:
    """Look a word up; what a file states is at fault as data, what the task states as usage."""
    try:
        return find(*arguments, place)
    except UsageError as error:
        if place.startswith("task."):
            raise
        raise DataError(str(error)) from error


def _wrong(place: str, message: str) -> SegfwError:
    of_command = place.startswith("task.") or place == EVALUATED_REMAP
    return (UsageError if of_command else DataError)(f"{place} {message}")
