"""The raw files of a fold's validation cases, as values that can be handed to another process."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segfw.core.errors import ArtefactError, DataError
from segfw.core.support.locks import Lock
from segfw.core.types import FloatArray, IntArray, Volume
from segfw.io.formats.readers import read_geometry, read_image, read_label, write_label
from segfw.stages.job import Job
from segfw.stages.trainings.runs import CONFIG, run_folder
from segfw.training.run import FoldRun
from segfw.training.validation import FoldIO


@dataclass(frozen=True)
class CaseFiles:
    """A case's reference label map, and an image that has its geometry."""

    label: str | None
    image: str


@dataclass(frozen=True)
class FoldFiles:
    """Files by case, `remap` of their label values, and the run's lock with the token of who holds it.

    `config`: the run's config.yaml, without which nobody could use what is trained.
    """

    cases: dict[str, CaseFiles]
    remap: dict[int, int]
    lock: str
    token: str
    config: str = ""


def files_of(job: Job, run: FoldRun, lock: Lock) -> FoldFiles:
    """Collect what whole-case validation of `run` reads."""
    cases = {name: job.dataset.case(name) for name in run.val_cases}
    files = {name: CaseFiles(case.label, case.images[0]) for name, case in cases.items()}
    config = run_folder(job, run.configuration_name, run.fold) / CONFIG
    return FoldFiles(files, dict(job.dataset.remap), str(lock.path), lock.token, str(config.absolute()))


def fold_io(files: FoldFiles) -> FoldIO:
    """Give training the functions that read reference label maps and write segmentations in a case's own geometry."""

    def reference(name: str) -> Volume:
        label = files.cases[name].label
        if label is None:
            raise DataError(f"case {name}: has no label map to validate against")
        return read_label(label, files.remap)

    def write(name: str, segmentation: IntArray, path: Path) -> None:
        write_label(path, segmentation, read_geometry(files.cases[name].image))

    def case(name: str, path: Path) -> tuple[FloatArray, IntArray, IntArray]:
        image = read_image([files.cases[name].image]).array[0]
        return image, np.asarray(reference(name).array[0]), np.asarray(read_label(str(path)).array[0])

    lock = Lock(Path(files.lock), files.token)

    def check() -> None:
        lock.check()
        if files.config and not Path(files.config).is_file():
            raise ArtefactError(
                f"{files.config} is gone: the run's folder was removed or moved while it was trained; give the command "
                "again to train it anew"
            )

    return FoldIO(reference, write, check, case)
