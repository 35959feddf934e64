"""What a dataset is: its channels, its labels and the files of its cases."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from segfw.core.errors import DataError
from segfw.core.labels import LabelSet

LONGEST_NAME = 200  # bytes: file systems allow 255, endings and temporary names take the rest


@dataclass(frozen=True)
class Case:
    """One patient's image and label map.

    `images`: one file (or folder of one DICOM series) per channel, or a single one that holds all of them. `table`:
    what else the dataset's list of files says of the case, column -> text, such as the patient.
    """

    name: str
    images: tuple[str, ...]
    label: str | None = None
    table: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of the case: the images in their order, then the label map if there is one."""
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Window:
    """A CT window in Hounsfield units, as radiologists give it: intensities from level - width/2 to level + width/2."""

    level: float
    width: float

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise DataError(f"the width of a CT window must be above 0 HU, got {self.width}")


@dataclass(frozen=True)
class Dataset:
    """A dataset as its description states it.

    `channel_names`: one per input channel, in order; the name decides the normalisation. `num_training`: what the
    dataset says of itself; it enters the batch-size rule. `cases` is empty where only the description was read.
    `licence` and `reference` are free text for the model card. `remap`: value in the label files -> value of
    `labels`; values that it does not name stay. `normalization`: a scheme per channel, None (or an empty tuple)
    follows the channel's name. `window`: of CT channels.
    """

    name: str
    channel_names: tuple[str, ...]
    labels: LabelSet
    num_training: int
    cases: tuple[Case, ...] = ()
    file_ending: str = ".nii.gz"
    licence: str = ""
    reference: str = ""
    remap: dict[int, int] = field(default_factory=dict)
    normalization: tuple[str | None, ...] = ()
    window: Window | None = None

    def __post_init__(self) -> None:
        if not self.channel_names:
            raise DataError(f"dataset {self.name!r} declares no channel; name at least one, such as channels=[CT]")
        names = [case.name for case in self.cases]
        for name in names:
            check_case_name(name)
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise DataError(f"dataset {self.name!r} lists these cases more than once: {twice}")

    def case(self, name: str) -> Case:
        """Return the case called `name`; `DataError` if there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            message = f"dataset {self.name!r} has no case {name!r}; it has {len(self.cases)} cases"
            raise DataError(message) from None

    @cached_property
    def _by_name(self) -> dict[str, Case]:
        return {case.name: case for case in self.cases}


def has_controls(text: str) -> bool:
    """Whether `text` holds control characters or line breaks, which lists and listings could not show."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def is_unicode(text: str) -> bool:
    """Whether `text` can be written to a file: names of files that are no UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_case_name(name: str) -> None:
    """Raise `DataError` for a name that cannot be a file's: every stage calls its files after the cases."""
    if name in ("", ".", "..") or name != name.strip() or "/" in name or "\\" in name or has_controls(name):
        raise DataError(
            f"case {name!r}: the name of a case is that of its files, so it must be a word without slashes, control "
            "characters and blanks at its ends"
        )
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"case {name!r}: the name is not Unicode text (position {error.start}); rename it") from error
    if length > LONGEST_NAME:
        raise DataError(f"case {name!r}: the name has {length} bytes, {LONGEST_NAME} are allowed")
