"""Which images `predict` shall segment: a file, a folder of files or DICOM series, one such series, or a CSV table.

Files called `<case>_0000`, `<case>_0001`, ... are the channels of one case. A table has a column `case` and one for
each channel, called after the channel, `channel_0`, or as in a list of training cases (`image_T1`, `image_0`); `image`
alone is a file that holds all channels. Paths in it are relative to its folder, and other columns do not matter.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segfw.core.cases.verification import FileVolume
from segfw.core.errors import DataError
from segfw.core.support.addresses import DATA_CACHE
from segfw.core.support.files import looked_for
from segfw.core.support.words import counted
from segfw.core.types import Volume
from segfw.io.datasets.case_table import read_case_table
from segfw.io.datasets.listing import image_files, split_ending
from segfw.io.datasets.tables import beside
from segfw.io.formats.dicom import is_dicom_folder, series_folders
from segfw.io.formats.endings import is_known
from segfw.io.formats.nifti_floats import find_not_finite
from segfw.io.formats.readers import read_image
from segfw.io.remote.arrival import mirrored

log = logging.getLogger(__name__)

CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
Images = dict[str, tuple[Path, ...]]


def read_input(files: Sequence[Path]) -> Volume:
    """Read a case's image. Raises `DataError` for voxels that are NaN or infinite, which ITK makes 0 in NIfTI files."""
    volume = read_image(files)
    for file in files:
        hidden = FileVolume(str(file), volume, replaced=find_not_finite(file))
        if hidden.replaced is not None:
            raise DataError(f"{file}: {hidden.not_finite()[0][1]}; give them numbers, as training data must have")
    return volume


def is_table(source: Path) -> bool:
    """Whether the name is that of a table of cases."""
    return source.suffix.lower() == ".csv"


def is_one_case(source: Path) -> bool:
    """Whether `source` is an image: a file, or a folder of one DICOM series."""
    return is_dicom_folder(source) if source.is_dir() else not is_table(source)


def find_cases(source: Path, channel_names: Sequence[str], data_cache: str = DATA_CACHE) -> Images:
    """Return {case: its image files} of what lies at `source`, by name.

    For a model of one channel any name is a case of its own. Raises `DataError` for nothing to segment, for a case
    given twice, and for cases whose channel files are neither one nor one per channel; whether files can be read is
    not looked at. Files at addresses are paths below `data_cache`, fetched when read.
    """
    if not source.exists():
        raise DataError(f"input: there is no file or folder {looked_for(source)}")
    if is_table(source):
        return _listed(source, channel_names, data_cache)
    files = _images_at(source)
    numbers: dict[str, dict[int, Path]] = {}
    for name, path in files.items():
        if match := CHANNEL.fullmatch(name):
            numbers.setdefault(match["case"], {})[int(match["channel"])] = path
    twice = sorted(name for name, found in numbers.items() if name in files and (0 in found or len(channel_names) > 1))
    if twice:
        raise DataError(f"input: {source} holds these cases with and without _0000: {twice}")
    if len(channel_names) == 1:
        return _of_one_channel(files, numbers)
    return _of_several_channels(files, numbers, len(channel_names))


def _images_at(source: Path) -> dict[str, Path]:
    """Return {name without ending: path} of the images; `DataError` where there is none, saying where some are."""
    if is_one_case(source):
        name = source.resolve().name if source.is_dir() or not is_known(source) else split_ending(source)[0]
        return {name: source}
    files = image_files(source)
    if files:
        return files
    deeper = [str(folder.relative_to(source)) for folder in series_folders(source)]
    if deeper:
        raise DataError(
            f"input: {source} holds no image file, and its DICOM series lie deeper: {deeper[:5]}; name the folder that "
            "the series' folders lie in, or list them in a CSV"
        )
    others = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
    raise DataError(f"input: {source} holds no image file, but {counted(len(others), 'other entry')}: {others[:5]}")


def _of_one_channel(files: Mapping[str, Path], numbers: Mapping[str, Mapping[int, Path]]) -> Images:
    """Drop `_0000` from names, but where other numbers show that it counts cases."""
    several = sorted(name for name, found in numbers.items() if 0 in found and len(found) > 1)
    if several:
        log.warning(
            "the model takes one channel: each file of these names is a case, whatever its number: %s", several[:5]
        )
    counting = {f"{name}_0000" for name in several}
    return {name if name in counting else name.removesuffix("_0000"): (path,) for name, path in files.items()}


def _of_several_channels(
    files: Mapping[str, Path], numbers: Mapping[str, Mapping[int, Path]], num_channels: int
) -> Images:
    wrong = {name: sorted(found) for name, found in numbers.items() if sorted(found) != list(range(num_channels))}
    if wrong:
        raise DataError(
            f"input: the model takes {num_channels} channels, <case>_0000 to <case>_{num_channels - 1:04d}; "
            f"these cases have other numbers: {wrong}"
        )
    cases: Images = {name: (path,) for name, path in files.items() if not CHANNEL.fullmatch(name)}
    cases |= {name: tuple(found[i] for i in range(num_channels)) for name, found in numbers.items()}
    return dict(sorted(cases.items()))


def _listed(table: Path, channel_names: Sequence[str], data_cache: str) -> Images:
    rows = read_case_table(table)
    if not rows:
        raise DataError(f"input: {table} lists no case")
    columns = _channel_columns(table, list(next(iter(rows.values()))), channel_names)
    cases = {}
    for name, row in rows.items():
        if name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
            raise DataError(f"input: {table}: a case gives its file its name, so it must be a plain one, got {name!r}")
        empty = [column for column in columns if not row[column]]
        if empty:
            raise DataError(f"input: {table}: case {name} names no file in column {empty[0]!r}")
        cases[name] = tuple(beside(table, row[column]) for column in columns)
    paths = mirrored((file for files in cases.values() for file in files), data_cache)
    return {name: tuple(Path(paths[file]) for file in files) for name, files in cases.items()}


def _channel_columns(table: Path, columns: Sequence[str], channel_names: Sequence[str]) -> list[str]:
    """Return the column of each channel, or the one of a file for all."""
    chosen = []
    for number, name in enumerate(channel_names):
        allowed = {text.lower() for text in (name, f"channel_{number}", f"image_{name}", f"image_{number}")}
        found = [column for column in columns if column.lower() in allowed]
        if len(found) > 1:
            raise DataError(f"input: {table}: the columns {found} both stand for the model's channel {name!r}")
        chosen += found
    if len(chosen) == len(channel_names):
        return chosen
    if not chosen and "image" in columns:
        return ["image"]
    raise DataError(
        f"input: {table} needs a column for each channel of the model, {list(channel_names)}, or channel_0 to "
        f"channel_{len(channel_names) - 1}; its columns besides case are {list(columns)}"
    )
