"""Verb `export`: a packaged model as one file to share, for onnxruntime, or for nnU-Net."""

import logging
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from segfw.core.errors import UsageError
from segfw.core.files import discard, sha256
from segfw.core.settings import ExportSettings
from segfw.inference.bundle import load_bundle, save_zip
from segfw.inference.package_files import MANIFEST
from segfw.interop.onnx import DESCRIPTION, LARGEST_DIFFERENCE, export_onnx

log = logging.getLogger(__name__)


def run(settings: ExportSettings) -> None:
    """Write the model at `settings.output`, whole or not at all; `UsageError` for what is there already."""
    if settings.model is None or settings.format is None or settings.output is None:
        raise UsageError("export needs model=MODEL format=zip|onnx|nnunet output=PATH")
    model, output = Path(settings.model), Path(settings.output).expanduser()
    FORMATS[settings.format](model, output, settings.overwrite)


def _zip(model: Path, output: Path, overwrite: bool) -> None:
    target = output / f"{model.absolute().stem}.zip" if output.is_dir() else output
    if target.suffix.lower() != ".zip":
        raise UsageError(f"output: a file whose name ends in .zip, or a folder for it, got {output}")
    if target.exists() and not overwrite:
        raise UsageError(f"output: {target} is there already; overwrite=true replaces it")
    save_zip(target, model)
    checksum = sha256(target)
    log.info("export: wrote %s (%.1f MB, SHA-256 %s)", target, target.stat().st_size / 1e6, checksum)
    log.info(
        "from an address:\n  python -m segfw predict model=https://... model_sha256=%s input=... output=...", checksum
    )


def _onnx(model: Path, output: Path, overwrite: bool) -> None:
    def write(folder: Path) -> None:
        for name, difference in export_onnx(load_bundle(model), folder).items():
            log.info(
                "export: %s differs from PyTorch by %.1e at most (allowed %.0e)", name, difference, LARGEST_DIFFERENCE
            )

    _write_folder(output, write, DESCRIPTION, overwrite)
    log.info("export: wrote %s; scripts/examples/predict_onnx.py shows how to predict with it", output)


def _write_folder(output: Path, write: Callable[[Path], None], mark: str, overwrite: bool) -> None:
    """Let `write` fill a temporary folder that then takes the name `output`.

    What is there is replaced only with `overwrite`, and only if the file `mark` says that it is an earlier export.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not overwrite:
            raise UsageError(f"output: {output} is there already; overwrite=true replaces an earlier export")
        if not (output / mark).is_file() or (output / MANIFEST).exists():
            raise UsageError(f"output: {output} is no earlier export of this format (it has no {mark}); name another")
    temporary = output.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{output.name}")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary)
        if output.exists():
            discard(output)
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


FORMATS: dict[str, Callable[[Path, Path, bool], None]] = {"zip": _zip, "onnx": _onnx}
