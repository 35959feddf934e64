"""What the integers of a label map mean: exclusive labels, overlapping regions, an ignore label.

Rules from nnU-Net's dataset format: `background` is 0; `ignore`, if there is one, is the largest value; with at least
one region of several values the network has one sigmoid channel per region, else one softmax channel per label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segfw.core.errors import DataError
from segfw.core.types import BoolArray, FloatArray, IntArray

LabelKey = tuple[int, ...]
BACKGROUND, IGNORE = "background", "ignore"


@dataclass(frozen=True)
class LabelSet:
    """Names and values of a dataset's labels, in the order in which the dataset declares them.

    `values`: name -> integer, or name -> integers of a region. `regions_class_order`: the value painted for each
    region, in painting order; required with regions. Raises `DataError` when the declaration contradicts itself.
    """

    values: dict[str, int | tuple[int, ...]]
    regions_class_order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.values.get(BACKGROUND) != 0:
            raise DataError(f"labels must hold 'background' with the value 0, got {self.values}")
        empty = [name for name, value in self.values.items() if value == ()]
        if empty:
            raise DataError(f"the labels {empty} have no value")
        repeated = {
            name: value for name, value in self.values.items() if len(set(members(value))) < len(members(value))
        }
        if repeated:
            raise DataError(f"a region holds each of its values once, got {repeated}")
        refuse_synonyms(self.values)
        check_consecutive(self.all_values, self.ignore_value)
        if self.has_regions and len(self.regions_class_order or ()) != len(self.foreground):
            derived = region_order([values for _, values in self.foreground])
            raise DataError(
                f"regions_class_order needs one value for each of the {len(self.foreground)} regions "
                f"{[name for name, _ in self.foreground]}, got {self.regions_class_order}"
                + (f"; nested as they are, it should be {list(derived)}" if derived else "")
            )

    @cached_property
    def has_regions(self) -> bool:
        """Whether some entry spans several values (a list of one value does not count)."""
        return any(isinstance(value, tuple) and len(value) > 1 for value in self.values.values())

    @cached_property
    def ignore_value(self) -> int | None:
        """The value of unannotated voxels, or None."""
        value = self.values.get(IGNORE)
        if value is not None and not isinstance(value, int):
            raise DataError(f"the label 'ignore' must be one integer, got {value}")
        return value

    @cached_property
    def all_values(self) -> tuple[int, ...]:
        """Every value of a label map but `ignore`, ascending, 0 included."""
        found: set[int] = set()
        for name, value in self.values.items():
            if name != IGNORE:
                found.update(members(value))
        return tuple(sorted(found))

    @cached_property
    def foreground_values(self) -> tuple[int, ...]:
        """Every value of a segmentation but background: with regions, too, what the next stage of a cascade is told."""
        return self.all_values[1:]

    @cached_property
    def allowed_values(self) -> tuple[int, ...]:
        """Every value that a label map may hold, ascending, the ignore label included."""
        return _with_ignore(self.all_values, self.ignore_value)

    @cached_property
    def foreground(self) -> tuple[tuple[str, LabelKey], ...]:
        """(name, member values) of each label or region that is learned and scored, in the network's order."""
        entries = [
            (name, members(value)) for name, value in self.values.items() if name != IGNORE and value not in (0, (0,))
        ]
        return tuple(entries if self.has_regions else sorted(entries, key=lambda entry: entry[1]))

    @cached_property
    def removable(self) -> tuple[tuple[str, LabelKey], ...]:
        """The `foreground` entries that do not hold 0, to which voxels that become background belong no more."""
        return tuple((name, key) for name, key in self.foreground if 0 not in key)

    @cached_property
    def num_heads(self) -> int:
        """Output channels of the network: regions, or labels with background and without ignore."""
        return len(self.foreground) if self.has_regions else len(self.all_values)

    @cached_property
    def location_keys(self) -> tuple[LabelKey, ...]:
        """What oversampling may ask for: each foreground entry and, with an ignore label, all annotated voxels."""
        keys = tuple(values for _, values in self.foreground)
        return keys if self.ignore_value is None else (*keys, self.annotated_key)

    @cached_property
    def annotated_key(self) -> LabelKey:
        """Every value but ignore, and the marker -1 of voxels outside the nonzero region."""
        return (-1, *self.all_values)

    def decode(self, scores: FloatArray) -> IntArray:
        """Turn scores `(heads, ...)` into a label map `(...)`, uint8 (uint16 from 255 foreground labels on).

        Labels: the first maximum wins; logits and probabilities are equally good. Regions: `scores` are
        probabilities, and each region above 0.5 is painted in order, later over earlier.
        """
        dtype = np.uint8 if max(self.all_values) < 255 else np.uint16
        if not self.has_regions:
            return np.asarray(scores.argmax(0), dtype)
        painted = np.zeros(scores.shape[1:], dtype)
        for value, probability in zip(self.regions_class_order or (), scores, strict=True):
            painted[probability > 0.5] = value
        return painted

    def mask(self, label_map: IntArray, key: LabelKey) -> BoolArray:
        """Where `label_map` holds one of `key`'s values."""
        return np.asarray(label_map == key[0] if len(key) == 1 else np.isin(label_map, key))


def members(value: int | LabelKey) -> LabelKey:
    """Return the values of a label, which is one, or of a region."""
    return value if isinstance(value, tuple) else (value,)


def refuse_synonyms(values: Mapping[str, int | LabelKey]) -> None:
    """Raise `DataError` for two names of one value, unless some entry is a region, which may be one value's too."""
    keys = {name: members(value) for name, value in values.items()}
    if any(len(key) > 1 for key in keys.values()):
        return
    seen: dict[LabelKey, str] = {}
    for name, key in keys.items():
        other = seen.setdefault(key, name)
        if other != name:
            raise DataError(
                f"the labels {other!r} and {name!r} have the same value {key[0]}; keep one of the names, or give each "
                "the value that it has in the files"
            )


def check_consecutive(
    values: Sequence[int], ignore_value: int | None, sources: Mapping[int, int] | None = None
) -> None:
    """Raise `DataError` unless `values` (ascending, 0 first) count up from 0 and the ignore label follows.

    The message gives the `task.remap` that would make it so. `sources`: value in the files -> one of these; None where
    they are the same.
    """
    expected = _with_ignore(values, ignore_value)
    if expected == tuple(range(len(expected))):
        return
    renumbering = {old: new for new, old in enumerate(expected)}
    sources = {value: value for value in expected} if sources is None else sources
    proposal = {file: renumbering.get(value, value) for file, value in sorted(sources.items())}
    proposal = {file: value for file, value in proposal.items() if file != value}
    remedy = f"renumber them, in the files as they are read and here, with 'task.remap={proposal}'"
    if ignore_value is not None and ignore_value != max(values) + 1:
        raise DataError(
            f"the label 'ignore' must be the largest value, {max(values) + 1} here, got {ignore_value}; {remedy}"
        )
    raise DataError(f"label values must be consecutive from 0, got {list(expected)}; {remedy}")


def _with_ignore(values: Sequence[int], ignore_value: int | None) -> tuple[int, ...]:
    return (*values, *(() if ignore_value is None else (ignore_value,)))


def region_order(regions: Sequence[LabelKey]) -> tuple[int, ...] | None:
    """Return the value to paint for each region, in the order given, or None where nesting does not tell.

    It is the smallest value that the region has beyond the regions nested in it: whole (1, 2, 3), core (2, 3) and
    enhancing (3,) are painted 1, 2, 3. None where regions overlap without nesting, where those nested in a region leave
    it no value, and where one nested in another comes first, so that it would be painted over.
    """
    sets = [frozenset(region) for region in regions]
    for position, region in enumerate(sets):
        if not _own(region, sets) or any(region & after and not after < region for after in sets[position + 1 :]):
            return None
    return tuple(min(_own(region, sets)) for region in sets)


def example_order(regions: Sequence[LabelKey]) -> tuple[int, ...]:
    """Return values that could be painted for the regions, for messages: one of its own where a region has any."""
    sets = [frozenset(region) for region in regions]
    return tuple(min(_own(region, sets) or region) for region in sets)


def _own(region: frozenset[int], regions: Sequence[frozenset[int]]) -> frozenset[int]:
    """Return the values that only the region and those around it have."""
    return region.difference(*(other for other in regions if not other >= region))
