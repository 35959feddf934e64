"""nnU-Net's `splits_final.json` in the folder of the raw data: used as it is, unless other keys make folds."""

import logging
from dataclasses import replace
from pathlib import Path

from segfw.core.settings.checks import changed_split_keys, number_of_folds
from segfw.core.settings.choices import parse_folds, parse_members
from segfw.core.settings.schema import ExperimentSettings, SplitSettings
from segfw.core.support.addresses import address_of
from segfw.io.datasets.layouts import dataset_folder
from segfw.io.remote.arrival import arrive
from segfw.io.remote.system import Denied, NotThere, Unreachable

log = logging.getLogger(__name__)

RAW_FOLDS = "splits_final.json"


def chosen_split(settings: ExperimentSettings, tell: bool = False) -> SplitSettings:
    """Return the settings by which folds are made: those given, or with the dataset's own file as `split.file`.

    It is used where neither `split.file` nor another key that makes folds is given. `tell`: say which it is.
    """
    split = settings.split
    path = _find(settings) if split.file is None else None
    if path is None:
        return split
    changed = changed_split_keys(split)
    if not changed:
        if tell:
            log.info("splits: the folds are those of %s, which lies with the raw data", path)
        return replace(split, file=str(path))
    if tell:
        keys = " ".join(f"split.{key}={getattr(split, key)}" for key in changed)
        log.info("splits: %s is left alone, since %s is given; split.file=%s would use it", path, keys, path)
    return split


def check_folds(settings: ExperimentSettings) -> None:
    """Refuse chosen folds that there cannot be, as far as that is known before the data are read; `UsageError`."""
    number = number_of_folds(chosen_split(settings))
    parse_folds(settings.folds, number)
    parse_members(settings.inference.folds, number)


def _find(settings: ExperimentSettings) -> Path | None:
    """Return the file where it is there; at addresses, where it can be had, too."""
    if not (settings.task.folder or settings.task.name):
        return None
    path = dataset_folder(settings.task, Path(settings.data_root)) / RAW_FOLDS
    if address_of(path) is not None:
        try:
            arrive(path)
        except (NotThere, Denied, Unreachable):
            return None
    return path if path.is_file() else None
