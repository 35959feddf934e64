"""dataset.yaml, what the last command knew of the dataset and its files, and a twin of it that is read at once.

With ten thousand cases the YAML takes four seconds to read, its twin in JSON a fifth of one. The twin names the text
that it is of, so that one left behind is never believed.
"""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.errors import ArtefactError, DataError, UsageError
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import replace_text, write_text
from segfw.workspace import Workspace, digest, load_yaml, to_yaml

log = logging.getLogger(__name__)

COMMENT = "What the dataset is, as it was read, and the state of its files."


@dataclass(frozen=True)
class FileRecord:
    """State of one raw file: bytes, modification time in nanoseconds, SHA-256.

    Of a file at an address: bytes, and hashes of what the server says of its version.

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

    @cached_property
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


def save_record(workspace: Workspace, record: DatasetRecord) -> None:
    """Write dataset.yaml and its twin."""
    text = to_yaml(record, COMMENT)
    write_text(workspace.dataset, text)
    plain: dict[str, Any] = {
        "text": _hash(text),
        "dataset": to_plain(replace(record.dataset, cases=())),
        "cases": [[case.name, case.images, case.label, case.table] for case in record.dataset.cases],
        "files": {path: [file.size, file.mtime_ns, file.sha256] for path, file in record.files.items()},
    }
    workspace.dataset_twin.parent.mkdir(exist_ok=True)
    replace_text(workspace.dataset_twin, json.dumps(plain))


def load_record(workspace: Workspace) -> DatasetRecord | None:
    """Return what the last command knew; None where there is none that can be used, with a warning if it is damaged."""
    path = workspace.dataset
    if not path.exists():
        return None
    try:
        return _load_twin(workspace) or from_plain(DatasetRecord, load_yaml(path), path.name)
    except (ArtefactError, UsageError, DataError) as error:
        log.warning("%s cannot be used: %s", path, " ".join(str(error).split()))
        return None


def _load_twin(workspace: Workspace) -> DatasetRecord | None:
    """Return the record as JSON has it; None where the twin is missing, damaged, or not of this dataset.yaml."""
    try:
        plain = json.loads(workspace.dataset_twin.read_text(encoding="utf-8"))
        if plain["text"] != _hash(workspace.dataset.read_text(encoding="utf-8")):
            return None
        dataset = from_plain(Dataset, plain["dataset"])
        cases = tuple(Case(name, tuple(images), label, table) for name, images, label, table in plain["cases"])
        files = {path: FileRecord(*state) for path, state in plain["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None
    return DatasetRecord(replace(dataset, cases=cases), files)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
