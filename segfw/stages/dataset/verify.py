"""Verb `verify`, and the same checks inside the main job: every fault of every case, in one table and one JSON file.

Nothing is planned, let alone trained, on data with errors: the table is shown and the job stops.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from segfw.core.cases.dataset import Dataset
from segfw.core.cases.fault_table import count_words, in_order, table
from segfw.core.cases.faults import Fault
from segfw.core.cases.verification import CaseCheck, Verification, check_across, propose_ignore, propose_remap
from segfw.core.errors import DataError, JobError, SegfwError
from segfw.core.imaging.grids import GRID_KINDS
from segfw.core.settings.schema import ExperimentSettings
from segfw.core.settings.verbs import VerificationSettings
from segfw.core.support.conversion import from_plain, to_plain
from segfw.core.support.files import write_text
from segfw.core.support.words import counted
from segfw.io.datasets.layouts import missing_files, orphan_labels
from segfw.stages.dataset.case_check import check_case
from segfw.stages.dataset.raw import find_dataset, scan, workspace_of, would_be_made
from segfw.stages.dataset.record import DatasetRecord
from segfw.stages.dataset.repairs import repair
from segfw.stages.executor import run_cases
from segfw.workspace import MadeFrom, Workspace

log = logging.getLogger(__name__)

ALGORITHM = "3"
"""Version of the checks; raised when the same data would get another verdict."""


def run(chosen: VerificationSettings) -> None:
    """Check the dataset anew: the verb. `JobError` if there is an error."""
    settings = ExperimentSettings(
        task=chosen.task,
        data_root=chosen.data_root,
        data_cache=chosen.data_cache,
        output_root=chosen.output_root,
        verify=chosen.verify,
        executor=chosen.executor,
    )
    workspace = workspace_of(settings)
    if chosen.dry_run:
        _tell(settings, workspace)
        return
    dataset = find_dataset(settings.task, Path(settings.data_root), settings.data_cache)
    verification = verify_cases(dataset, settings, _content(dataset, workspace))
    settle(verification, dataset, settings)


def _tell(settings: ExperimentSettings, workspace: Workspace) -> None:
    """Say what would be checked and written."""
    folder = would_be_made(settings.task, Path(settings.data_root))
    if folder is not None:
        log.info(
            "verify: would make the synthetic dataset in %s, check it, and write %s", folder, workspace.verification
        )
        return
    number = len(find_dataset(settings.task, Path(settings.data_root), settings.data_cache).cases)
    copies = f", and copies of what can be repaired (verify.fix={settings.verify.fix})" if settings.verify.fix else ""
    log.info("verify: would read %s, and write %s%s", counted(number, "case"), workspace.verification, copies)


def stop_at_missing_files(dataset: Dataset, settings: ExperimentSettings) -> None:
    """Verify a dataset whose files are not all there, so that the user sees all that is wrong with it at once."""
    if missing_files(dataset):
        settle(verify_cases(dataset, settings), dataset, settings)


def verify_cases(dataset: Dataset, settings: ExperimentSettings, content: str = "") -> Verification:
    """Check every case of `dataset`, in parallel. `content`: the hash by which the result will be judged fresh."""
    check = partial(check_case, dataset=replace(dataset, cases=()), tolerance=settings.verify.tolerance)
    checks = run_cases(check, {case.name: case for case in dataset.cases}, settings.executor, "verify")
    return conclude(dataset, settings, list(checks.values()), content)


def conclude(
    dataset: Dataset, settings: ExperimentSettings, checks: Sequence[CaseCheck], content: str = ""
) -> Verification:
    """Put the checks of all cases together and add what only several of them show."""
    faults = [fault for check in checks for fault in check.faults]
    remap = ",".join(f"{old}:{new}" for old, new in propose_remap(checks, dataset.labels).items())
    hint = ""
    if remap:
        hint = f"; 'task.remap={{{remap}}}' would renumber them"
    elif (ignore := propose_ignore(checks, dataset.labels)) is not None:
        hint = f"; if these voxels are not annotated, declare ignore: {ignore}"
    if hint:
        faults = [replace(f, message=f.message + hint) if f.kind == "label-values" else f for f in faults]
    faults += [*check_across(checks, dataset), *_orphans(dataset, settings)]
    return Verification(
        dataset=dataset.name,
        tolerance=settings.verify.tolerance,
        made_from=_made_from(settings, content),
        faults=in_order(faults),
        cases={check.case: check.content for check in checks},
    )


def settle(verification: Verification, dataset: Dataset, settings: ExperimentSettings) -> None:
    """Write verification.json, show the table, repair what `verify.fix` says, and raise `JobError` for errors."""
    path = workspace_of(settings).verification
    _save(path, verification)
    summary = f"verify: {count_words(verification.faults, len(verification.cases))}; all in {path}"
    fixing = settings.verify.fix is not None and bool(verification.errors)
    repairs = repair(verification, dataset, settings) if fixing else None
    faults = verification.faults if repairs is None else [repairs.annotated(fault) for fault in verification.faults]
    for severity, line in table(tuple(faults), f"see {path}"):
        {"error": log.error, "warning": log.warning, None: log.info}[severity](line)
    if not verification.errors:
        log.info(summary)
        return
    if repairs is not None:
        summary += f"; {repairs.summary}"
    elif any(fault.kind in GRID_KINDS for fault in verification.errors):
        summary += (
            "; copies on the image's grid are written by verify.fix=copy_header (if the voxels correspond) or "
            "verify.fix=resample (if the positions are right)"
        )
    raise JobError(summary)


def ensure_verified(record: DatasetRecord, settings: ExperimentSettings) -> Verification:
    """Return what is known of the dataset as it is, checking it where nothing is known; `JobError` for errors."""
    known = fresh_verification(record, settings)
    if known is None or known.errors:
        known = known or verify_cases(record.dataset, settings, record.content)
        settle(known, record.dataset, settings)
    return known


def fresh_verification(record: DatasetRecord, settings: ExperimentSettings) -> Verification | None:
    """Return the verification on disk if it is of this content, tolerance and version of the checks."""
    path = workspace_of(settings).verification
    try:
        plain = dict(json.loads(path.read_text(encoding="utf-8")))
        plain.pop("counts", None)
        found = from_plain(Verification, plain, path.name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, SegfwError) as error:
        log.warning("%s is made anew: %s", path, error)
        return None
    return found if found.made_from == _made_from(settings, record.content) else None


def label_presence(record: DatasetRecord, settings: ExperimentSettings) -> dict[str, frozenset[int]]:
    """Return the label values present in each case, background and ignore left out.

    Taken from the last verification of this content; else every case is verified. `JobError` if there are errors.
    """
    left_out = {0, record.dataset.labels.ignore_value}
    cases = ensure_verified(record, settings).cases
    return {name: frozenset(content.labels) - left_out for name, content in cases.items()}


def refuse_errors(checks: Sequence[CaseCheck]) -> None:
    """Raise `DataError` with every error of the cases."""
    errors = tuple(fault for check in checks for fault in check.faults if fault.severity == "error")
    if errors:
        rows = "\n".join(line for _, line in table(errors, "see segfw verify"))
        raise DataError(f"{count_words(errors, len(checks))}:\n{rows}")


def _content(dataset: Dataset, workspace: Workspace) -> str:
    """Return the hash of the dataset's files; an empty string, which nothing is fresh by, where they cannot be read."""
    if missing_files(dataset):
        return ""
    try:
        return scan(dataset, workspace).content
    except DataError as error:
        log.info("no content hash: %s", error)
        return ""


def _made_from(settings: ExperimentSettings, content: str) -> MadeFrom:
    return {"dataset": content, "tolerance": repr(settings.verify.tolerance), "algorithm": ALGORITHM}


def _save(path: Path, verification: Verification) -> None:
    errors = len(verification.errors)
    counts = {
        "cases": len(verification.cases),
        "errors": errors,
        "warnings": len(verification.faults) - errors,
        "cases_with_errors": len({fault.case for fault in verification.errors}),
    }
    plain = {"dataset": verification.dataset, "counts": counts, **to_plain(verification)}
    write_text(path, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def _orphans(dataset: Dataset, settings: ExperimentSettings) -> list[Fault]:
    return [
        Fault(Path(path).name, "warning", "orphan", "a label map that belongs to no image", path)
        for path in orphan_labels(settings.task, Path(settings.data_root), dataset)
    ]
