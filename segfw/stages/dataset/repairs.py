"""`verify.fix`: repaired copies of the files that are not on their image's grid, and a list that names them.

The originals stay as they are, and at fault; the list is a dataset of its own that `task.folder` takes.
"""

import logging
import os
import shlex
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from segfw.core.cases.dataset import Case, Dataset
from segfw.core.cases.faults import Fault
from segfw.core.cases.verification import Verification
from segfw.core.errors import DataError, JobError
from segfw.core.imaging.grids import GRID_KINDS
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.support.addresses import address_of
from segfw.io.datasets.file_list import read_file_list, write_task_list
from segfw.io.datasets.layouts import REPAIRED, dataset_folder
from segfw.io.formats.repair import Fix, copy_path, repair_file
from segfw.stages.executor import run_cases

log = logging.getLogger(__name__)

Work = tuple[Case, tuple[str, ...], Fix]


@dataclass(frozen=True)
class Repairs:
    """What was repaired: `copies`: file -> its copy; `refused`: file -> why not; `summary`: the closing words."""

    copies: dict[str, str]
    refused: dict[str, str]
    summary: str

    def annotated(self, fault: Fault) -> Fault:
        """Return the fault with what became of it."""
        if not _is_repairable(fault):
            return fault
        if fault.file in self.copies:
            copy = Path(self.copies[fault.file])
            return replace(fault, message=f"{fault.message}; repaired in {copy.parent.name}/{copy.name}")
        return replace(fault, message=f"{fault.message}; not repaired: {self.refused[fault.file]}")


def repair(verification: Verification, dataset: Dataset, settings: ExperimentSettings) -> Repairs:
    """Write the copies that `verify.fix` asks for and the list of the repaired dataset.

    `JobError` where they cannot be written, `DataError` where the list would replace one of other cases.
    """
    fix = settings.verify.fix
    if fix is None:
        raise ValueError("there is no verify.fix to repair by")
    files: dict[str, list[str]] = {}
    for fault in verification.errors:
        if _is_repairable(fault) and fault.file not in files.setdefault(fault.case, []):
            files[fault.case].append(fault.file)
    work: dict[str, Work] = {c.name: (c, tuple(files[c.name]), fix) for c in dataset.cases if c.name in files}
    path = _list_path(dataset, next(iter(work.values()))[1][0], settings, fix) if work else None
    if path is not None:
        _require_own(path, dataset, fix)
    outcomes = run_cases(_repair_case, work, settings.executor, f"verify.fix={fix}") if work else {}
    copies = {file: copy for done, _ in outcomes.values() for file, copy in done.items()}
    refused = {file: why for _, refusals in outcomes.values() for file, why in refusals.items()}
    repaired = sum(_is_repairable(fault) and fault.file in copies for fault in verification.errors)
    count = len(verification.errors)
    summary = f"verify.fix={fix} repaired {repaired} of {count} error{'s' * (count != 1)} in copies"
    if copies and path is not None:
        _write_list(path, dataset, copies, fix)
        summary += f"; the repaired dataset is, in place of +task, {_choice(dataset.name, path)}"
    return Repairs(copies, refused, summary)


def _is_repairable(fault: Fault) -> bool:
    return fault.severity == "error" and fault.kind in GRID_KINDS


def _repair_case(work: Work) -> tuple[dict[str, str], dict[str, str]]:
    """Return {file: copy} and {file: why not} of one case."""
    case, files, fix = work
    copies, refused = {}, {}
    for file in files:
        if (address := address_of(file)) is not None:
            refused[file] = f"no copy is written beside {address}; copy the dataset to a folder first"
            continue
        try:
            copies[file] = str(repair_file(Path(file), Path(case.images[0]), fix, file == case.label))
        except DataError as error:
            refused[file] = str(error)
        except OSError as error:
            raise JobError(f"verify.fix={fix} cannot write a copy of {file} beside its folder: {error}") from error
    return copies, refused


def _list_path(dataset: Dataset, first: str, settings: ExperimentSettings, fix: Fix) -> Path:
    """Return where the list goes: into the dataset's folder; of a dataset that is a list, beside the copies.

    A list may lie in a folder of configurations, where another YAML file would be taken for one.
    """
    folder = dataset_folder(settings.task, Path(settings.data_root))
    if not folder.is_dir():
        folder = copy_path(Path(first), fix).parent.parent
    return folder.absolute() / f"{REPAIRED}{fix}_{dataset.name}.yaml"


def _require_own(path: Path, dataset: Dataset, fix: Fix) -> None:
    """Raise `DataError` if there is a list at `path` that names other files than the dataset's and their copies."""
    if not path.exists():
        return
    refusal = f"verify.fix={fix} does not replace {path}: "
    remedy = "; delete it or move it away"
    try:
        listed = read_file_list(path).cases
    except DataError as error:
        raise DataError(f"{refusal}it is no list that was written here{remedy} ({error})") from error
    cases = {case.name: case for case in dataset.cases}
    for case in listed:
        own = cases.get(case.name)
        if own is None:
            raise DataError(f"{refusal}it lists other cases, such as {case.name}{remedy}")
        for file, original in zip_longest(_absolute(case), _absolute(own)):
            if file is None or original is None or file not in (original, str(copy_path(Path(original), fix))):
                raise DataError(f"{refusal}its case {case.name} has other files, such as {file or original}{remedy}")


def _absolute(case: Case) -> list[str]:
    return [os.path.abspath(file) for file in case.files]


def _write_list(path: Path, dataset: Dataset, copies: dict[str, str], fix: Fix) -> None:
    cases = tuple(
        replace(
            case,
            images=tuple(copies.get(image, image) for image in case.images),
            label=None if case.label is None else copies.get(case.label, case.label),
        )
        for case in dataset.cases
    )
    if path.exists():
        log.info("verify.fix=%s: %s is replaced", fix, path)
    try:
        write_task_list(path, replace(dataset, cases=cases))
    except OSError as error:
        raise JobError(f"verify.fix={fix} cannot write the list {path}: {error.strerror}") from error


def _choice(name: str, path: Path) -> str:
    """Return the overrides that choose the list, quoted for a shell."""
    return f"{shlex.quote(f'task.name={name}')} {shlex.quote(f'task.folder={path}')}"
