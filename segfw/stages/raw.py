"""The raw dataset as it lies on disk: its description, and a content hash that survives copies and moves.

Every command lists the folder again. A file whose size and time are those of the last command is taken to be the
same; only others are hashed, so that a second command on 100 GB of images starts at once.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.support.conversion import from_plain
from segfw.core.support.files import sha256, write_text
from segfw.io.datasets.layouts import read_dataset
from segfw.io.datasets.phantom import make_phantom_dataset
from segfw.workspace import Workspace, digest, load_yaml, to_yaml

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileRecord:
    """State of one raw file: bytes, modification time in nanoseconds, SHA-256.

    Of a folder that holds a DICOM series: sums over its files, the folder's own time included, and a hash of all.
    """

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class DatasetRecord:
    """The dataset and its files' states; `content` is a hash of what the files hold, not of where they lie."""

    dataset: Dataset
    files: dict[str, FileRecord]

    @property
    def content(self) -> str:
        """Hash over labels, channels, case names and file contents, independent of folders and times.

        What only planning asks for (normalization, CT window) is left out: the plan's own inputs hold it.
        """
        description = replace(self.dataset, cases=(), name="", licence="", reference="", normalization=(), window=None)
        cases = [[case.name, *(self.files[path].sha256 for path in case.files)] for case in self.dataset.cases]
        return digest([description, cases])

    def content_of(self, case: Case) -> str:
        """Hash over one case's file contents, in the order of its channels, the label map last."""
        return digest([len(case.images), *(self.files[path].sha256 for path in case.files)])


def workspace_of(settings: ExperimentSettings) -> Workspace:
    """Return where everything made of the task's dataset goes; `UsageError` where no task is given."""
    if settings.task.name is None:
        raise UsageError("no task: give +task=Task04, or task.name=Mine task.folder=Mine for a folder of your own")
    return Workspace(Path(settings.output_root) / settings.task.name)


def find_dataset(task: TaskSettings, data_root: Path) -> Dataset:
    """Read what the dataset is and which files it should have, after making it if it is synthetic."""
    if task.synthetic == "phantom":
        folder = data_root / (task.folder or task.name or "")
        if not folder.exists():
            log.info("making the synthetic dataset in %s", folder)
            make_phantom_dataset(folder)
    return read_dataset(task, data_root)


def scan(dataset: Dataset, workspace: Workspace) -> DatasetRecord:
    """Hash the dataset's files that changed since the last command, and keep the result in dataset.yaml."""
    before = _load(workspace.dataset)
    paths = [path for case in dataset.cases for path in case.files]
    record = DatasetRecord(dataset, _states(paths, before.files if before else {}))
    if record != before:
        comment = "What the dataset is, as it was read, and the state of its files."
        write_text(workspace.dataset, to_yaml(record, comment))
    return record


def _load(path: Path) -> DatasetRecord | None:
    """Return the last command's record; None where there is none that can be used."""
    if not path.exists():
        return None
    try:
        return from_plain(DatasetRecord, load_yaml(path), path.name)
    except (ArtefactError, UsageError, DataError) as error:
        log.warning("%s is read anew: %s", path, error)
        return None


def _states(paths: Iterable[str], before: dict[str, FileRecord]) -> dict[str, FileRecord]:
    """Return each file's state, hashing only those whose size or time differ from `before`."""
    states = {}
    for path in paths:
        try:
            members = _members(Path(path))
            stats = [member.stat() for member in members]
            size = sum(stat.st_size for member, stat in zip(members, stats, strict=True) if member.is_file())
            mtime_ns = sum(stat.st_mtime_ns for stat in stats)
            known = before.get(path)
            if known is None or (known.size, known.mtime_ns) != (size, mtime_ns):
                known = FileRecord(size, mtime_ns, _hash(members))
            states[path] = known
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return states


def _members(path: Path) -> list[Path]:
    """Return a file alone, or a folder and what is below it."""
    return [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]


def _hash(members: list[Path]) -> str:
    """Hash a file, or the names and contents of a folder's files."""
    folder, *others = members
    if not folder.is_dir():
        return sha256(folder)
    return digest([[path.relative_to(folder).as_posix(), sha256(path)] for path in others if path.is_file()])
