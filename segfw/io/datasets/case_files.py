"""Cases of folder layouts: found by the names in imagesTr and labelsTr, or listed in dataset.json.

Only names are looked at: a file that is listed or implied (the second channel of a case whose first is there) need not
exist, so that all that is missing can be told at once.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError
from segfw.io.datasets.listing import is_image
from segfw.io.formats.dicom import is_dicom_folder
from segfw.io.formats.readers import NATURAL_ENDINGS, ending_of

CHANNEL_SUFFIX = re.compile(r"(.+)_(\d{4})")
LISTED = 10  # names in one message
INDENTED = "\n  "


@dataclass(frozen=True)
class FoundImages:
    """What a folder of images holds: case -> channel number -> path; None stands for a name without a number.

    `labels`: name without ending -> file name, of the folder of label maps.
    """

    folder: Path
    label_folder: Path
    ending: str
    images: Mapping[str, Mapping[int | None, str]]
    labels: Mapping[str, str]

    @property
    def highest_channel(self) -> int:
        """The largest channel number that occurs, 0 if names have none."""
        return max((channel or 0 for channels in self.images.values() for channel in channels), default=0)

    def files_per_case(self, num_channels: int) -> int:
        """Return how many files each case should have: one per channel, fewer where files hold several.

        Where no name has a higher number than 0, one file holds all channels. Colors come in one file, so that
        natural images may have any number up to one per channel.
        """
        several = self.highest_channel + 1
        return several if several == 1 or self.ending.lower() in NATURAL_ENDINGS else num_channels


def find_images(folder: Path, label_folder: Path, ending: str) -> FoundImages:
    """Group what imagesTr holds by case.

    A name is the case's own where a label map has that name; else the four digits at its end are the channel's. Where
    no label map decides, it is as with most of the others. `DataError` for a missing folder.
    """
    for needed in (folder / "imagesTr", label_folder):
        if not needed.is_dir():
            where = needed.relative_to(folder) if needed.is_relative_to(folder) else needed
            raise DataError(f"dataset {folder} has no folder {where}")
    labels = {name.removesuffix(ending_of(name)): name for name in names_in(label_folder) if is_image(Path(name))}
    labels.update({name.removesuffix(ending): name for name in names_in(label_folder) if name.endswith(ending)})
    stems = {name.removesuffix(ending): name for name in image_names(folder / "imagesTr", ending)}
    numbered = {stem: match for stem in stems if (match := CHANNEL_SUFFIX.fullmatch(stem))}
    own = sum(stem in labels for stem in numbered)
    digits_are_channels = sum(match[1] in labels for match in numbered.values()) >= own
    images: dict[str, dict[int | None, str]] = {}
    for stem, name in stems.items():
        match = numbered.get(stem)
        if match is None or stem in labels or (match[1] not in labels and not digits_are_channels):
            case, channel = stem, None
        else:
            case, channel = match[1], int(match[2])
        images.setdefault(case, {})[channel] = str(folder / "imagesTr" / name)
    return FoundImages(folder, label_folder, ending, images, labels)


def found_cases(found: FoundImages, num_channels: int) -> list[Case]:
    """Return a case for each name, with every file that it should have.

    `DataError` for files of more channels than there are, and for a case with and without channel numbers.
    """
    expected = found.files_per_case(num_channels)
    surplus = [
        path
        for channels in found.images.values()
        for channel, path in channels.items()
        if channel is not None and channel >= num_channels
    ]
    if surplus:
        raise DataError(
            f"{found.folder}: image files of {num_channels} channels are numbered 0000 to {num_channels - 1:04}, "
            f"{len(surplus)} have higher numbers:{INDENTED}{some(sorted(surplus), separator=INDENTED)}"
        )
    cases = []
    for name, channels in sorted(found.images.items()):
        if None in channels and len(channels) > 1:
            raise DataError(f"case {name}: has files with and without a channel number: {sorted(channels.values())}")
        stem = found.folder / "imagesTr" / name
        implied = tuple(channels.get(i, f"{stem}_{i:04}{found.ending}") for i in range(expected))
        label = str(found.label_folder / found.labels.get(name, name + found.ending))
        cases.append(Case(name, (channels[None],) if None in channels else implied, label))
    return cases


def listed_cases(folder: Path, listed: Any) -> list[Case]:
    """Return nnU-Net's explicit list `{case: {images: [...], label: ...}}`, environment variables replaced."""

    def place(path: str) -> str:
        return str(folder / os.path.expandvars(path))

    if not isinstance(listed, dict):
        raise DataError(f"dataset in {folder / 'dataset.json'} must map case names to files, got {listed!r}")
    cases = []
    for name, entry in listed.items():
        images, label = (entry.get("images"), entry.get("label")) if isinstance(entry, dict) else ([], None)
        if not isinstance(images, list) or not images or not all(isinstance(file, str) for file in (*images, label)):
            raise DataError(
                f"dataset.{name} in {folder / 'dataset.json'} must be {{images: [...], label: ...}}, got {entry!r}"
            )
        cases.append(Case(str(name), tuple(place(image) for image in images), place(str(label))))
    return cases


def decathlon_cases(folder: Path, listed: list[Any], ending: str) -> list[Case]:
    """Return the Decathlon's list `[{image: ..., label: ...}]` by name; names that are hidden are left out."""
    cases = []
    for entry in listed:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
            raise DataError(
                f"training in {folder / 'dataset.json'} must list {{image: ..., label: ...}}, got {entry!r}"
            )
        name = Path(entry["image"]).name
        if not name.startswith((".", "_")):
            cases.append(Case(name.removesuffix(ending), (str(folder / entry["image"]),), str(folder / entry["label"])))
    return sorted(cases, key=lambda case: case.name)


def check_counts(place: Path, cases: list[Case], num_channels: int) -> None:
    """Raise `DataError` naming the cases whose number of files cannot give `num_channels` channels."""
    odd = [case for case in cases if not _may_hold(case, num_channels)]
    if odd:
        names = some([f"{case.name} ({len(case.images)})" for case in odd])
        raise DataError(
            f"{place}: each case needs {num_channels} image files (one per channel) or one that holds all channels; "
            f"{len(odd)} cases do not have them: {names}"
        )


def _may_hold(case: Case, num_channels: int) -> bool:
    count = len(case.images)
    natural = any(image.lower().endswith(NATURAL_ENDINGS) for image in case.images)
    return count in (1, num_channels) or (natural and count < num_channels)


def names_in(folder: Path) -> list[str]:
    """Return the names of the regular files of `folder`, hidden ones left out; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def image_names(folder: Path, ending: str) -> list[str]:
    """Return the names of files that end in `ending` and of sub-folders that hold a DICOM series."""
    if not folder.is_dir():
        return []
    folders = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    series = [path.name for path in folders if is_dicom_folder(path)]
    return [name for name in names_in(folder) if name.endswith(ending)] + series


def some(names: list[str], separator: str = ", ") -> str:
    """Join up to ten names and say how many more there are."""
    more = f"{separator}and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return separator.join(names[:LISTED]) + more
