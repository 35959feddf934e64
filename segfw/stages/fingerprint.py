"""Stage `fingerprint`: look at every case once, check it, and keep what planning needs.

Each worker writes its case's sampled foreground voxels into one file; the statistics are then taken from that file,
mapped into memory, one channel at a time, and it is removed.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.cases.verification import CaseCheck
from segfw.core.plan import Fingerprint
from segfw.core.planning.fingerprint import CaseFingerprint, fingerprint_case, pool_fingerprints, samples_per_case
from segfw.core.settings.schema import ExecutorSettings, VerifySettings
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import take_room, writing
from segfw.core.support.locks import hold
from segfw.core.support.words import counted
from segfw.core.types import FloatArray
from segfw.stages.dataset.case_check import check_files, read_case
from segfw.stages.dataset.verify import conclude, ensure_verified, fresh_verification, refuse_errors, settle
from segfw.stages.ending import StageEnd, nothing_to_do, wrote
from segfw.stages.executor import run_cases
from segfw.stages.job import Job
from segfw.workspace import State, digest, save_artefact, standing, to_yaml

log = logging.getLogger(__name__)

SAMPLES = ".samples-"


@dataclass(frozen=True)
class SampleFile:
    """A float32 file of shape (channels, total); case number `i` owns `per_case` columns from `i * per_case` on."""

    path: str
    channels: int
    per_case: int
    total: int

    def create(self) -> None:
        """Make the file, full of zeros, with its room on the disk; `WriteError` where there is none."""
        path = Path(self.path)
        with writing(path):
            with path.open("wb") as file:
                file.truncate(self._offset(self.channels, 0))
            take_room(path)

    def write(self, number: int, samples: FloatArray) -> None:
        """Save the samples `(channels, per_case)` of case `number`."""
        path = Path(self.path)
        with writing(path), path.open("r+b") as file:
            for channel, row in enumerate(samples):
                file.seek(self._offset(channel, number * self.per_case))
                file.write(row.data)

    def map_row(self, channel: int) -> FloatArray:
        """Map one channel's samples, to be changed in place: making room for a copy takes longer than its use."""
        return np.memmap(self.path, np.float32, "r+", self._offset(channel, 0), (self.total,))

    def _offset(self, channel: int, column: int) -> int:
        return (channel * self.total + column) * np.dtype(np.float32).itemsize


def run(job: Job) -> StageEnd:
    """Make fingerprint.yaml and verification.json unless they are fresh; `JobError` for data with errors."""
    path = job.workspace.fingerprint
    with hold(job.workspace.lock("fingerprint"), "the fingerprint") as lock:
        found = standing(path, job.fingerprint_inputs)
        if found.state is State.FRESH:
            ensure_verified(job.record, job.settings)
            return nothing_to_do(path)
        if found.state is not State.MISSING:
            log.info("fingerprint: made anew, %s", found.why or "what is there was changed or damaged")
        for left in path.parent.glob(f"{SAMPLES}*"):  # of a command that was killed; its lock is ours now
            shutil.rmtree(left, ignore_errors=True)
        known = fresh_verification(job.record, job.settings)
        if known is not None and known.errors:
            settle(known, job.dataset, job.settings)
        fingerprint = make_fingerprint(
            job.dataset,
            job.settings.executor,
            path.parent,
            job.settings.verify.tolerance,
            partial(_conclude, job),
        )
        text = to_yaml(
            to_plain(fingerprint), "What planning knows of the images. Spacings in mm and shapes in voxels, (Z, Y, X)."
        )
        lock.check()
        save_artefact(path, text, job.fingerprint_inputs, digest(fingerprint))
        return wrote(counted(len(fingerprint.cases), "case"), path)


def make_fingerprint(
    dataset: Dataset,
    executor: ExecutorSettings,
    scratch: Path,
    tolerance: float = VerifySettings().tolerance,
    accept: Callable[[Sequence[CaseCheck]], None] = refuse_errors,
) -> Fingerprint:
    """Fingerprint every case of `dataset` as `executor` says; the samples pass through a file in `scratch`.

    The files are read once and checked in passing; `accept` is given the checks and raises where there are errors.
    """
    names = [case.name for case in dataset.cases]
    per_case = samples_per_case(len(names))
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SAMPLES, dir=scratch) as folder:
        channels = len(dataset.channel_names)
        samples = SampleFile(str(Path(folder) / "samples.f32"), channels, per_case, per_case * len(names))
        samples.create()
        work = {case.name: (i, case) for i, case in enumerate(dataset.cases)}
        sample = partial(_sample_case, samples, replace(dataset, cases=()), tolerance)
        results = run_cases(sample, work, executor, "fingerprint")
        accept([check for check, _ in results.values()])
        return pool_fingerprints([case for _, case in results.values() if case is not None], samples.map_row)


def _conclude(job: Job, checks: Sequence[CaseCheck]) -> None:
    settle(conclude(job.dataset, job.settings, checks, job.record.content), job.dataset, job.settings)


def _sample_case(
    samples: SampleFile, dataset: Dataset, tolerance: float, numbered: tuple[int, Case]
) -> tuple[CaseCheck, CaseFingerprint | None]:
    """Check and fingerprint one case and move its samples into the shared file; no fingerprint where it has errors."""
    number, case = numbered
    files = read_case(case, dataset)
    check = check_files(case, files, dataset, tolerance)
    if check.has_errors or files.label is None:
        return check, None
    result = fingerprint_case(case.name, files.image, files.label.volume, samples.per_case)
    if result.has_foreground:
        samples.write(number, result.samples)
    return check, result.without_samples()
