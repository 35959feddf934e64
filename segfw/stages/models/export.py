"""Verb `export`: a packaged model as one file to share, for onnxruntime, or for nnU-Net."""

import logging
import shlex
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path

from segfw.core.errors import UsageError
from segfw.core.scoring.postprocessing import step_in_words
from segfw.core.settings.verbs import ExportSettings
from segfw.core.support.files import remove_remains, sha256, temporary_beside
from segfw.core.support.locks import Lock, hold
from segfw.inference.bundle import load_bundle, save_zip
from segfw.interop.nnunet_export import write_trained_model
from segfw.interop.nnunet_folder import DATASET, PLANS
from segfw.interop.onnx import DESCRIPTION, MOST_DIFFERENT, export_onnx, needs
from segfw.stages.models.finding import refuse_address

log = logging.getLogger(__name__)


def run(settings: ExportSettings) -> None:
    """Write the model at `settings.output`, whole or not at all; `UsageError` for what is there already."""
    if settings.model is None or settings.format is None or settings.output is None:
        raise UsageError("export needs model=MODEL format=zip|onnx|nnunet output=PATH")
    refuse_address("model", settings.model)
    model, output = Path(settings.model), Path(settings.output)
    FORMATS[settings.format](model, output, settings)


def _zip(model: Path, output: Path, settings: ExportSettings) -> None:
    target = output / f"{model.absolute().name.removesuffix('.zip')}.zip" if output.is_dir() else output
    if target.suffix.lower() != ".zip":
        raise UsageError(f"output: a file whose name ends in .zip, or a folder for it, got {output}")
    with _hold(target):
        remove_remains(target)
        if target.exists() and not settings.overwrite:
            raise UsageError(f"output: {target} is there already; overwrite=true replaces it")
        save_zip(target, model)
    checksum = sha256(target)
    log.info("export: wrote %s (%.1f MB, SHA-256 %s)", target, target.stat().st_size / 1e6, checksum)
    log.info(
        "from an address:\n  python -m segfw predict model=https://... model_sha256=%s input=... output=...", checksum
    )


def _onnx(model: Path, output: Path, settings: ExportSettings) -> None:
    bundle = load_bundle(model)

    def write(folder: Path) -> None:
        differences = export_onnx(bundle, folder, settings.trust_code)
        for name, difference in differences.items():
            log.info("export: %s differs from PyTorch by %.1e at most (%.0e allowed)", name, difference, MOST_DIFFERENT)

    _write_folder(output, write, settings.overwrite, (DESCRIPTION, "*.onnx"))
    log.info("export: wrote %s; scripts/examples/predict_onnx.py shows how to predict with it", output)
    lacking = needs(bundle)
    if lacking:
        log.warning("export: but this model needs what the example lacks: %s; see %s", ", ".join(lacking), DESCRIPTION)


def _nnunet(model: Path, output: Path, settings: ExportSettings) -> None:
    bundle = load_bundle(model, every_member=True)

    def write(folder: Path) -> None:
        write_trained_model(bundle, folder)

    _write_folder(output, write, settings.overwrite, (PLANS, DATASET, "checkpoint_final.pth"))
    if bundle.postprocessing:  # nnU-Net takes it as a pickle alone, which nothing here writes
        steps = "; ".join(step_in_words(step, bundle.plan.labels) for step in bundle.postprocessing)
        log.warning(
            "export: the model's postprocessing is not part of this format, nnU-Net will leave it out: %s", steps
        )
    for plans in sorted(output.rglob(PLANS)):
        folds = " ".join(sorted(path.name.removeprefix("fold_") for path in plans.parent.glob("fold_*")))
        log.info(
            "export: wrote %s; with nnU-Net:\n  nnUNetv2_predict_from_modelfolder -i IN -o OUT -m %s -f %s",
            *(plans.parent, shlex.quote(str(plans.parent)), folds),
        )


def _write_folder(output: Path, write: Callable[[Path], None], overwrite: bool, names: tuple[str, ...]) -> None:
    """Let `write` fill a temporary folder that then takes the name `output`, if `_require_replaceable` allows it."""
    former = output.with_name(f".former-{output.name}")
    with _hold(output) as lock:
        _settle(output, former)
        _require_replaceable(output, overwrite, names)
        temporary = temporary_beside(output)
        try:
            write(temporary)
            lock.check()
            try:
                if output.exists():
                    output.rename(former)
                temporary.rename(output)
            finally:
                _settle(output, former)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _hold(output: Path) -> AbstractContextManager[Lock]:
    return hold(output.with_name(f".{output.name}.lock"), f"the export {output}")


def _settle(output: Path, former: Path) -> None:
    """Put back the `former` export that no new one has followed, else remove it, and whatever killed commands left."""
    if former.exists():
        former.rename(temporary_beside(output) if output.exists() else output)
    remove_remains(output)


def _require_replaceable(output: Path, overwrite: bool, names: tuple[str, ...]) -> None:
    """Raise `UsageError` for what may not be replaced.

    What is there is replaced only with `overwrite`, and only if it holds nothing but files called as those of this
    format, `names`: a folder that was meant otherwise is not lost.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not overwrite:
            raise UsageError(f"output: {output} is there already; overwrite=true replaces an earlier export")
        files = [path for path in output.rglob("*") if not path.is_dir()]
        foreign = [path for path in files if not any(fnmatchcase(path.name, name) for name in names)]
        if foreign or not files:
            raise UsageError(
                f"output: {foreign[0] if foreign else output} is not of an earlier export of this format; "
                "name another folder, or remove it by hand"
            )


FORMATS: dict[str, Callable[[Path, Path, ExportSettings], None]] = {"zip": _zip, "onnx": _onnx, "nnunet": _nnunet}
