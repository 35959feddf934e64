"""Verb `import`: a model that nnU-Net v2 has trained becomes a packaged model."""

import logging
import shlex
from pathlib import Path
from typing import Any

from segfw.core.errors import UsageError
from segfw.core.settings.verbs import ImportSettings
from segfw.core.support.locks import hold
from segfw.inference.bundle import Bundle, save_bundle
from segfw.inference.model_manifest import Fold
from segfw.inference.package_files import MANIFEST
from segfw.interop.model_files import open_files
from segfw.interop.nnunet_folder import Choice
from segfw.interop.nnunet_model import read_model
from segfw.stages.models.finding import refuse_address

log = logging.getLogger(__name__)


def run(settings: ImportSettings) -> None:
    """Read the model at `source`, write it to `output` and log what it is."""
    if settings.source is None or settings.output is None:
        raise UsageError("import needs source=FOLDER_OR_ZIP output=MODEL_FOLDER")
    refuse_address("source", settings.source)
    output = Path(settings.output)
    _check_output(output, settings.overwrite)
    wanted = settings.configuration
    names = (wanted,) if isinstance(wanted, str) else wanted
    choice = Choice(names, settings.checkpoint, _folds(settings.folds))
    imported = read_model(open_files(Path(settings.source)), choice)
    for line in describe(imported.bundle):
        log.info("import: %s", line)
    for note in imported.notes:
        log.warning("import: %s", note)
    place = output.absolute()
    with hold(place.with_name(f".{place.name}.lock"), f"the model {output}") as lock:
        _check_output(output, settings.overwrite)
        lock.check()
        save_bundle(output, imported.bundle)
    model = shlex.quote(str(output))
    log.info("import: wrote %s; python -m segfw predict model=%s input=PATH output=PATH", output, model)


def describe(bundle: Bundle) -> list[str]:
    """Return in words what an imported model holds."""
    plan, facts = bundle.plan, bundle.provenance
    lines = [f"{plan.dataset_name}, trained by {facts.settings['trainer']} ({facts.settings['checkpoint']} checkpoint)"]
    for name in dict.fromkeys(member.configuration for member in bundle.members):
        members = [member for member in bundle.members if member.configuration == name]
        count = sum(tensor.numel() for tensor in members[0].weights.values())
        folds = ", ".join(str(member.fold) for member in members)
        patch = " x ".join(map(str, plan.configuration(name).patch_size))
        lines.append(f"{name}: {members[0].network} of {count} parameters, patch {patch}, folds {folds}")
    lines.append(f"channels: {', '.join(plan.channel_names)}")
    lines.append(f"labels: {', '.join(f'{name} {value}' for name, value in plan.labels.values.items())}")
    lines.append(f"mirrored in training along {list(bundle.mirror_axes) or 'no axis'}")
    if facts.scores:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in facts.scores.items())
        lines.append(f"nnU-Net's own validation of these folds: {scores}")
    return lines


def _folds(value: Any) -> tuple[Fold, ...] | None:
    """Return the folds that are named; None for those that nnU-Net would take."""
    if value is None:
        return None
    folds: list[Fold] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if item == "all":
            raise UsageError("folds: what nnU-Net calls all is called full here: folds=full")
        if item != "full" and (not isinstance(item, int) or isinstance(item, bool) or item < 0):
            raise UsageError(f"folds must be a fold, full, or a list of these such as [0,1], got {value!r}")
        folds.append(item)
    if not folds:
        raise UsageError("folds must name at least one fold, got []")
    return tuple(folds)


def _check_output(output: Path, overwrite: bool) -> None:
    """Refuse to replace a model unasked, and anything else at all."""
    if not output.exists():
        return
    if (output / MANIFEST).is_file():
        if not overwrite:
            raise UsageError(
                f"output: {output} holds a model; choose another folder, or replace it with overwrite=true"
            )
    elif not output.is_dir() or any(output.iterdir()):
        raise UsageError(f"output: {output} exists and is no model; choose another folder")
