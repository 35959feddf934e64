"""An example prediction beside the report, made by the packaged model as a user would make one."""

import logging
import shlex
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.core.support.addresses import address_of
from segfw.core.support.files import write_text
from segfw.core.support.locks import Lock
from segfw.io.formats.readers import read_image, write_label
from segfw.io.formats.writing import label_ending
from segfw.stages.job import Job
from segfw.stages.prediction.devices import open_predictor
from segfw.stages.trainings.runs import FinishedFold
from segfw.workspace import digest

log = logging.getLogger(__name__)


def make_example(job: Job, folds: list[FinishedFold], lock: Lock) -> None:
    """Segment one image with the packaged model: a validation case, which its first member has not seen.

    Raises `SegfwError` where the image cannot be read, or not written as it was read, or the model cannot be used.
    """
    model = job.workspace.model(job.settings.name)
    if not (model / "model.yaml").exists():
        return
    validated = {name: None for fold in folds for name in fold.run.val_cases}
    cases = {case.name: case for case in job.dataset.cases}  # which may have changed since
    case = next((cases[name] for name in validated if name in cases), job.dataset.cases[0])
    ending = label_ending(Path(case.images[0]))
    target = job.workspace.report.parent / f"example_{job.settings.name}_{case.name}{ending}"
    stamp = target.parent / f".{target.name}.made_from"
    made_from = digest([(model / "model.yaml").read_text(encoding="utf-8"), job.record.content])
    if target.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == made_from:
        return
    volume = read_image(case.images)
    settings = job.settings.trainer
    own_code = job.settings.network.target is not None  # which this command has run anyway
    card = settings.devices[0] if isinstance(settings.devices, tuple) else 0
    if volume.geometry is None:
        raise ArtefactError(f"{case.images[0]} states no geometry")
    predictor = open_predictor(model, settings.accelerator, settings.threads, trust_code=own_code, number=card)
    segmentation = predictor.predict(volume).segmentation
    lock.check()
    write_label(target, segmentation, volume.geometry)
    write_text(stamp, made_from)
    log.info("report: an example prediction, %s; as a command:", target)
    source = case.images[0] if len(case.images) == 1 else Path(case.images[0]).parent
    log.info("  %s", predict_command(model, Path(source), own_code))


def predict_command(model: Path, source: Path, own_code: bool) -> str:
    """Return what a user types, for a shell, to segment `source` likewise."""
    trust = " inference.trust_code=true" if own_code else ""
    places = f"model={shlex.quote(str(model))} input={shlex.quote(address_of(source) or str(source))}"
    return f"python -m segfw predict {places} output=FOLDER{trust}"
