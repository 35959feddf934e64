"""What the report tells of other names: the results of what was trained beside its own."""

import logging

from segfw.core.errors import SegfwError
from segfw.core.scoring.selection_record import SelectionRecord
from segfw.stages.job import Job
from segfw.stages.selection.select import finished_folds, load_selection
from segfw.tracking.comparison_section import NamedResult

log = logging.getLogger(__name__)

DEBUG = "debug_"
"""What the names begin with that are made to look for faults, not for a result."""


def named_results(job: Job, record: SelectionRecord | None, num_folds: int) -> tuple[NamedResult, ...]:
    """Return the results of every name with a finished fold, the command's own first; nothing without other names.

    `record`, `num_folds`: of the command's own name. Names for debugging are left out.
    """
    own, folder = job.settings.name, job.workspace.runs("")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    others = [name for name in names if name != own and not name.startswith(DEBUG)]
    counts = {name: len(finished_folds(job.workspace, name)) for name in others}
    results = [_result(name, optional_selection(job, name), count) for name, count in counts.items() if count]
    return (_result(own, record, num_folds), *results) if results else ()


def optional_selection(job: Job, name: str) -> SelectionRecord | None:
    """Return a name's selection, None where there is none that can be read."""
    try:
        return load_selection(job.workspace, name)
    except SegfwError as error:
        log.warning("report: without the selection %s: %s", name, error)
        return None


def _result(name: str, record: SelectionRecord | None, num_folds: int) -> NamedResult:
    if record is None:
        return NamedResult(name, num_folds)
    best, fitted = record.best, record.cross_fitted.dice
    return NamedResult(name, num_folds, record.winner, best.num_cases, record.selection_score, fitted)
