"""Stage `fingerprint`: look at every case once and keep what planning needs.

Each worker writes its case's sampled foreground voxels into one memory-mapped file, so that no process ever holds
those of all cases; the statistics are then taken from that file and it is removed.
"""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from segfw.core.case_checks import check_values
from segfw.core.conversion import to_plain
from segfw.core.dataset import Case, Dataset
from segfw.core.errors import DataError
from segfw.core.fingerprint import CaseFingerprint, fingerprint_case, pool_fingerprints, samples_per_case
from segfw.core.labels import LabelSet
from segfw.core.locks import hold
from segfw.core.plan import Fingerprint
from segfw.io.readers import read_image, read_label
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.workspace import State, save_artefact, standing, to_yaml

log = logging.getLogger(__name__)

SAMPLES = ".samples-"


@dataclass(frozen=True)
class SampleFile:
    """A float32 file of shape (channels, total); case number `i` owns `per_case` columns from `i * per_case` on."""

    path: str
    channels: int
    per_case: int
    total: int

    def open(self, mode: Literal["r", "r+", "w+"]) -> "np.memmap[tuple[int, int], np.dtype[np.float32]]":
        """Map the file; `mode` as numpy.memmap takes it."""
        return np.memmap(self.path, np.float32, mode, shape=(self.channels, self.total))


def run(job: Job) -> None:
    """Make fingerprint.yaml unless it is fresh."""
    path = job.workspace.fingerprint
    with hold(job.workspace.lock("fingerprint"), "the fingerprint") as lock:
        found = standing(path, job.fingerprint_inputs)
        if found.state is State.FRESH:
            log.info("fingerprint: nothing to do, %s is up to date", path)
            return
        if found.state is not State.MISSING:
            log.info("fingerprint: made anew, %s", found.why or "what is there was changed or damaged")
        for left in path.parent.glob(f"{SAMPLES}*"):  # of a command that was killed; its lock is ours now
            shutil.rmtree(left, ignore_errors=True)
        fingerprint = make_fingerprint(job.dataset, job.settings.executor.workers, path.parent)
        text = to_yaml(
            to_plain(fingerprint), "What planning knows of the images. Spacings in mm and shapes in voxels, (Z, Y, X)."
        )
        lock.check()
        save_artefact(path, text, job.fingerprint_inputs)
        log.info("fingerprint: wrote %s (%d cases)", path, len(fingerprint.cases))


def make_fingerprint(dataset: Dataset, workers: int | None, scratch: Path) -> Fingerprint:
    """Fingerprint every case of `dataset` with `workers` processes; the samples pass through a file in `scratch`."""
    names = [case.name for case in dataset.cases]
    per_case = samples_per_case(len(names))
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SAMPLES, dir=scratch) as folder:
        channels = len(dataset.channel_names)
        samples = SampleFile(str(Path(folder) / "samples.f32"), channels, per_case, per_case * len(names))
        samples.open("w+").flush()
        work = {case.name: (i, case) for i, case in enumerate(dataset.cases)}
        cases = run_cases(partial(_sample_case, samples, dataset.labels, dataset.remap), work, workers, "fingerprint")
        return pool_fingerprints(list(cases.values()), samples.open("r"))


def _sample_case(
    samples: SampleFile, labels: LabelSet, remap: dict[int, int], numbered: tuple[int, Case]
) -> CaseFingerprint:
    """Fingerprint one case and move its samples into the shared file."""
    number, case = numbered
    if case.label is None:
        raise DataError(f"case {case.name}: has no label map, so it cannot be trained on")
    label = read_label(case.label, remap)
    check_values(label, labels)
    result = fingerprint_case(case.name, read_image(case.images), label, samples.per_case)
    if result.has_foreground:
        start = number * samples.per_case
        mapped = samples.open("r+")
        mapped[:, start : start + samples.per_case] = result.samples
        mapped.flush()
    return result.without_samples()
