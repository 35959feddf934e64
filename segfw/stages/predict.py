"""Verb `predict`: segment a file or a folder of files with a packaged model."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segfw.core.errors import DataError, JobError, SegfwError, UsageError
from segfw.core.settings_checks import parse_members
from segfw.core.types import Volume
from segfw.core.verb_settings import InferenceOverrides, PredictSettings
from segfw.core.verification import FileVolume
from segfw.inference.bundle import load_bundle
from segfw.inference.predictor import CasePredictor
from segfw.io.datasets.listing import UNCERTAINTY, image_files, is_image, split_ending
from segfw.io.formats.dicom import is_dicom_folder
from segfw.io.formats.endings import is_known
from segfw.io.formats.nifti_floats import find_not_finite
from segfw.io.formats.readers import read_image
from segfw.io.formats.writing import write_map
from segfw.stages.models import find_model
from segfw.stages.segmentations import grid_for, named_file, segmentation_files, write_segmentation
from segfw.training.devices import choose_device, set_threads

log = logging.getLogger(__name__)

CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def run(settings: PredictSettings) -> None:
    """Segment every case that is not there yet; `JobError` at the end lists those that failed."""
    if settings.model is None or settings.input is None or settings.output is None:
        raise UsageError("predict needs model=MODEL input=FILE_OR_FOLDER output=FOLDER")
    source = Path(settings.input)
    model = find_model(settings.model, settings.model_sha256, settings.model_cache)
    predictor = open_predictor(model, settings.accelerator, settings.threads, settings.inference)
    cases = find_cases(source, len(predictor.bundle.plan.channel_names))
    targets = _targets(cases, source, Path(settings.output), settings.inference.output_format)
    _refuse_to_overwrite(cases, targets)
    if source.is_dir() and Path(settings.output).resolve() == source.resolve():
        raise UsageError(
            f"output: {settings.output} is the images' own folder; segmentations would be taken for images"
        )
    failed = []
    for number, (name, files) in enumerate(cases.items(), 1):
        target = targets[name][0]
        uncertain = _uncertainty_file(target) if predictor.settings.uncertainty else None
        there = all(file.exists() for file in (*targets[name], *([uncertain] if uncertain else [])))
        if there and not settings.overwrite:
            log.info("%d/%d %s: %s is there, skipped", number, len(cases), name, target)
            continue
        started = time.monotonic()
        try:
            volume = read_input(files)
            grid = grid_for(targets[name], volume, files)
            prediction = predictor.predict(volume)
            if uncertain is not None and prediction.uncertainty is not None:
                write_map(uncertain, prediction.uncertainty, grid)
            write_segmentation(targets[name], prediction.segmentation, grid, files, predictor.bundle)
        except SegfwError as error:
            failed.append(name)
            log.error("%d/%d %s: %s", number, len(cases), name, error)
            continue
        log.info("%d/%d %s: %s (%.1f s)", number, len(cases), name, target, time.monotonic() - started)
    if failed:
        raise JobError(f"predict: {len(failed)} of {len(cases)} cases failed, the others are done: {failed[:20]}")


def open_predictor(
    model: Path,
    accelerator: str,
    threads: int | None,
    overrides: InferenceOverrides | None = None,
    trust_code: bool = False,
) -> CasePredictor:
    """Open a packaged model on the device asked for; it predicts as it was validated, but for `overrides`.

    `trust_code`: import networks that the model only names.
    """
    device = choose_device(accelerator, threads=threads)
    set_threads(device)
    overrides = overrides or InferenceOverrides()
    bundle = load_bundle(model, parse_members(overrides.folds))
    own = vars(bundle.inference)
    given = {key: value for key, value in vars(overrides).items() if value is not None and key in own}
    trust = trust_code or overrides.trust_code
    return CasePredictor(bundle, device.accelerator, replace(bundle.inference, **given), trust)


def read_input(files: Sequence[Path]) -> Volume:
    """Read a case's image. Raises `DataError` for voxels that are NaN or infinite, which ITK makes 0 in NIfTI files."""
    volume = read_image(files)
    for file in files:
        hidden = FileVolume(str(file), volume, replaced=find_not_finite(file))
        if hidden.replaced is not None:
            raise DataError(f"{file}: {hidden.not_finite()[0][1]}; give them numbers, as training data must have")
    return volume


def find_cases(source: Path, num_channels: int) -> dict[str, tuple[Path, ...]]:
    """Group the images at `source` into cases, by name: a file, a folder of one DICOM series, or a folder of those.

    Files called `<case>_0000`, `<case>_0001`, ... are the channels of one case; for single-channel models any other
    name is a case of its own. `DataError` names cases whose number of channel files is neither 1 nor `num_channels`.
    """
    if not source.exists():
        raise DataError(f"input: there is no file or folder {source}")
    files = _images_at(source)
    if not files:
        raise DataError(f"input: {source} holds no image file")
    if num_channels == 1:
        twice = sorted(name for name in files if f"{name}_0000" in files)
        if twice:
            raise DataError(f"input: {source} holds these cases with and without _0000: {twice}")
        return {name.removesuffix("_0000"): (path,) for name, path in files.items()}
    channels: dict[str, dict[int, Path]] = {}
    alone: dict[str, tuple[Path, ...]] = {}
    for name, path in files.items():
        match = CHANNEL.fullmatch(name)
        if match:
            channels.setdefault(match["case"], {})[int(match["channel"])] = path
        else:
            alone[name] = (path,)
    wrong = {name: sorted(found) for name, found in channels.items() if sorted(found) != list(range(num_channels))}
    if wrong:
        raise DataError(
            f"input: the model takes {num_channels} channels, <case>_0000 to <case>_{num_channels - 1:04d}; "
            f"these cases have other numbers: {wrong}"
        )
    numbered = {name: tuple(found[i] for i in range(num_channels)) for name, found in channels.items()}
    return dict(sorted({**alone, **numbered}.items()))


def _images_at(source: Path) -> dict[str, Path]:
    if is_dicom_folder(source):
        return {source.resolve().name: source}
    if source.is_dir():
        return image_files(source)
    return {split_ending(source)[0] if is_known(source) else source.name: source}


def _refuse_to_overwrite(cases: dict[str, tuple[Path, ...]], targets: dict[str, tuple[Path, ...]]) -> None:
    """Raise `UsageError` if a segmentation would take the place of an image."""
    images = {path.resolve() for files in cases.values() for path in files}
    clash = [target for files in targets.values() for target in files if target.resolve() in images]
    if clash:
        raise UsageError(f"output: {clash[0]} is one of the images; give another folder, or the images would be lost")


def _uncertainty_file(target: Path) -> Path:
    """Where the map of uncertainty goes: beside the segmentation, as NIfTI."""
    name = split_ending(target)[0] if is_known(target) else target.name
    return target.with_name(f"{name}{UNCERTAINTY}.nii.gz")


def _targets(
    cases: dict[str, tuple[Path, ...]], source: Path, output: Path, output_format: str | None
) -> dict[str, tuple[Path, ...]]:
    """Where each segmentation goes: into the folder `output`, or to `output` itself for one file in, one file out."""
    if is_image(output) and not output.is_dir():
        if source.is_dir() and not is_dicom_folder(source):
            raise UsageError(f"output={output} is a file, but input={source} is a folder; name a folder")
        return {name: named_file(output, files[0], output_format) for name, files in cases.items()}
    return {name: segmentation_files(name, files, output, output_format) for name, files in cases.items()}
