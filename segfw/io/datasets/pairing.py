"""Two folders of images and label maps to cases, by the names of the files."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segfw.core.cases.affixes import NameRule, find_rule
from segfw.core.cases.dataset import Case, is_unicode
from segfw.core.errors import DataError
from segfw.core.support.files import looked_for
from segfw.io.datasets.listing import image_files
from segfw.io.formats.dicom import MAX_DEPTH, series_folders


@dataclass(frozen=True)
class Pairing:
    """What two folders hold: cases in order of their names, and what belongs to none of them.

    `rule`: how the names are made, None where the cases are empty. `channels`: the word that tells the files of each
    channel apart, an empty one for a single file per case. `incomplete`: case -> channels without a file; its files
    are no orphans.
    """

    cases: tuple[Case, ...]
    rule: NameRule | None
    channels: tuple[str, ...]
    orphan_images: tuple[str, ...]
    orphan_labels: tuple[str, ...]
    incomplete: dict[str, tuple[str, ...]]


def find_files(folder: Path) -> dict[str, Path]:
    """Return {name without ending: absolute path} of the images in `folder` or, if it holds none, in its sub-folders.

    Files of sub-folders are called `sub-folder/name`. DICOM series are found further down too, as hospitals export
    them (patient/study/series): one is called as its sub-folder, several in it by their paths, joined with `_`. Raises
    `DataError` for no such folder, one without images, two images of one name, and a name that is no text.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {looked_for(folder)}")
    folder = Path(os.path.abspath(folder))
    found = image_files(folder)
    if all(path.is_dir() for path in found.values()):
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = _merged(_files_of(path, series_only=bool(found)) for path in below)
    if not found:
        raise DataError(f"{folder} holds no image file, nor does a folder in it")
    for path in found.values():
        if not is_unicode(str(path)):
            raise DataError(f"{str(path)!r} is no UTF-8 text, which a list of files needs; rename it")
    return found


def _files_of(folder: Path, series_only: bool) -> dict[str, Path]:
    """Return the images of a sub-folder as `find_files` calls them, in it and, of DICOM, below it."""
    files = {} if series_only else {name: path for name, path in image_files(folder).items() if path.is_file()}
    series = series_folders(folder, MAX_DEPTH - 1)
    if len(series) == 1 and not files:
        return {folder.name: series[0]}
    separator = "/" if files else "_"  # beside files, both are told apart by what follows the folder's name
    parts = {path: path.relative_to(folder.parent).parts for path in series}
    named = {f"{folder.name}/{name}": path for name, path in files.items()}
    return _merged([named, *({separator.join(parts[path]): path} for path in series)])


def _merged(parts: Iterable[Mapping[str, Path]]) -> dict[str, Path]:
    """Join listings; `DataError` for two images of one name."""
    found: dict[str, Path] = {}
    for part in parts:
        for name, path in part.items():
            if name in found:
                raise DataError(f"two images would be called {name}: {found[name]} and {path}; rename one")
            found[name] = path
    return found


def pair(images: Mapping[str, Path], labels: Mapping[str, Path]) -> Pairing:
    """Pair images and label maps by name, {name without ending: path}, by the one rule that pairs most.

    Both may hold the same files, where label maps lie among the images; of files that both hold otherwise, only the
    smaller side keeps them. Raises `DataError` for names that pair in two ways.
    """
    mixed = set(images.values()) == set(labels.values())
    if not mixed:
        images, labels = _without(images, labels), _without(labels, images)
    rule = find_rule(images, labels, mixed)
    if rule is None:
        return Pairing((), None, (), tuple(images), () if mixed else tuple(labels), {})
    own = {label: case for label in labels if (case := rule.label.case(label)) is not None}
    files = {label: tuple(affix.name(case) for affix in rule.images) for label, case in own.items()}
    there = {label: [name for name in names if name in images] for label, names in files.items()}
    names = _case_names([own[label] for label in own if there[label]])
    cases = [
        Case(names[own[label]], tuple(str(images[name]) for name in files[label]), str(labels[label]))
        for label in own
        if len(there[label]) == len(files[label])
    ]
    missing = {
        names[own[label]]: tuple(c for c, n in zip(rule.channels, files[label], strict=True) if n not in images)
        for label in own
        if 0 < len(there[label]) < len(files[label])
    }
    used = {name for found in there.values() for name in found} | (own.keys() if mixed else set())
    return Pairing(
        cases=tuple(sorted(cases, key=lambda case: case.name)),
        rule=rule,
        channels=rule.channels,
        orphan_images=tuple(name for name in images if name not in used),
        orphan_labels=tuple(name for name in (own if mixed else labels) if not there.get(name)),
        incomplete=missing,
    )


def _without(files: Mapping[str, Path], others: Mapping[str, Path]) -> Mapping[str, Path]:
    """Return `files`, those left out that also belong to the smaller set `others`."""
    if len(files) <= len(others):
        return files
    theirs = set(others.values())
    return {name: path for name, path in files.items() if path not in theirs}


def _case_names(keys: Sequence[str]) -> dict[str, str]:
    """Name each case after what its files share: as short as tells the cases apart, without separators at the ends.

    `BraTS_001/BraTS_001` becomes `BraTS_001`.
    """
    for shorten in (_last_words, _all_words):
        names = {key: shorten(key) for key in keys}
        if len(set(names.values())) == len(names):
            return names
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    raise DataError(f"files of different cases would have one case name, {twice[0]!r}; rename them")


def _last_words(key: str) -> str:
    return _trimmed(key.rpartition("/")[2]) or _all_words(key)


def _all_words(key: str) -> str:
    return _trimmed(key.replace("/", "_"))


def _trimmed(text: str) -> str:
    return re.sub(r"^[ _.-]+|[ _.-]+$", "", text)
