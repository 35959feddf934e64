"""What a killed command has left: whole files only, and after the last one the same as an undisturbed one leaves."""

import csv
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import SimpleITK as sitk
import torch
import yaml

from segfw.core.errors import ArtefactError
from segfw.core.support.attempts import attempt
from segfw.training.checkpoints import load_checkpoint
from segfw.training.epoch_cost import MEASURED

SAME_BYTES = (
    "*/splits.json",
    "*/fingerprint.yaml",
    "*/verification.json",
    "*/plans/*.yaml",
    "*/preprocessed/*/manifest.json",
    "*/preprocessed/*/*.record.json",
    "*/preprocessed/*/*.npy",
    "*/runs/**/validation/*.nii.gz",
    "*/runs/**/validation/metrics.*",
    "*/models/*/*.safetensors",
    "*/report/*.nii.gz",
    "data/**/*.*",
    "*.nii.gz",
)
"""Files that must be the same byte by byte, below an output folder."""
CHECKPOINTS, CURVES = "*/runs/**/checkpoints/*.ckpt", "*/runs/**/metrics.csv"
SELECTION, MODEL, DATASET = "*/selection/*.yaml", "*/models/*/model.yaml", "*/dataset.yaml"
ROUNDING = 1e-5
"""Relative difference of a mean over an epoch that was added up in two parts."""
UNSTABLE = {*MEASURED, "seconds"}


def damaged(folder: Path) -> list[str]:
    """Return the files below `folder` that bear their own name but cannot be read."""
    found = []
    for path in _files(folder):
        error = attempt(partial(_read, path)).error  # each kind of file has a reader, with errors of its own
        if error is not None and not isinstance(error, FileNotFoundError):
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {str(error).splitlines()[:1]}")
    return found


def remains(folder: Path) -> list[str]:
    """Return temporary files and locks, of which a completed command leaves none."""
    paths = (path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir()))
    marks = (".tmp-", ".lock", ".dead-")
    return sorted(
        str(path.relative_to(folder))
        for path in paths
        if any(mark in part for mark in marks for part in path.relative_to(folder).parts) and path.name != ".locks"
    )


def differences(one: Path, two: Path) -> list[str]:
    """Return what differs between what two commands have left, beside times and what was measured of the machine."""
    found = []
    for pattern in SAME_BYTES:
        for name, ours, theirs in _pairs(one, two, pattern):
            if ours is None or theirs is None:
                found.append(f"{name} is there only once")
            elif ours.read_bytes() != theirs.read_bytes():
                found.append(f"{name} differs")
    for pattern, read in READERS.items():
        for name, ours, theirs in _pairs(one, two, pattern):
            if ours is None or theirs is None:
                found.append(f"{name} is there only once")
            elif not _same(read(ours), read(theirs)):
                found.append(f"{name} differs")
    return sorted(set(found))


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".tmp-") or part in (".locks", "logs") for part in parts):
            yield path


def _read(path: Path) -> None:
    match path.suffix:
        case ".yaml":
            yaml.safe_load(path.read_text(encoding="utf-8"))
        case ".json":
            json.loads(path.read_text(encoding="utf-8"))
        case ".ckpt":
            load_checkpoint(path)
        case ".gz":
            sitk.ReadImage(str(path))
        case ".npz" | ".npy":
            np.load(path)
        case ".safetensors":
            safetensors.torch.load_file(path)
        case ".html":
            if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
                raise ArtefactError("it ends too early")


def _pairs(one: Path, two: Path, pattern: str) -> Iterator[tuple[str, Path | None, Path | None]]:
    found = [path.relative_to(root) for root in (one, two) for path in root.glob(pattern) if path.is_file()]
    names = {str(name) for name in found if not any(part.startswith(".tmp-") for part in name.parts)}
    for name in sorted(names):
        ours, theirs = (root / name if (root / name).is_file() else None for root in (one, two))
        yield name, ours, theirs


def _tensors(path: Path) -> Any:
    """Return all tensors and counters of a checkpoint but the clock's."""
    content = load_checkpoint(path)
    return {key: content.get(key) for key in ("state_dict", "optimizer_states", "epoch", "global_step")}


def _curves(path: Path) -> Any:
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in UNSTABLE} for row in csv.DictReader(file)]


def _selection(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))  # but for its record, which is a comment


def _model(path: Path) -> Any:
    """Return a model but for the hash of its folds, which tell when they were trained."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["provenance"].pop("made_from", None)
    return content


def _dataset(path: Path) -> Any:
    """Return the cases and the content of their files, but for where these lie and when they were made."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = [case["name"] for case in content["dataset"].pop("cases")]
    files = [(Path(name).name, state["size"], state["sha256"]) for name, state in content["files"].items()]
    return content["dataset"], names, files


READERS = {CHECKPOINTS: _tensors, CURVES: _curves, SELECTION: _selection, MODEL: _model, DATASET: _dataset}
"""What to compare of files that also tell times."""


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    return one == two or _same_number(one, two)


def _same_number(one: Any, two: Any) -> bool:
    """Whether two texts are numbers that differ by rounding only, as those of curves."""
    try:
        return isinstance(one, str) and math.isclose(float(one), float(two), rel_tol=ROUNDING)
    except (TypeError, ValueError):
        return False
