"""What a store of preprocessed cases should hold, and in words why cases are lacking."""

from collections.abc import Mapping
from pathlib import Path

from segfw.core.errors import ArtefactError
from segfw.data.store_check import Wanted
from segfw.stages.job import Job

SHOWN = 3
"""Reasons that are spelled out: on a failing disk each case has one of its own."""

REMEDY = "add the stage that makes it: stages=[preprocess,...] or stages=all"


def store_folder(job: Job, configuration: str) -> Path:
    """Where the cases lie as a configuration wants them."""
    return job.workspace.store(job.store_name(job.plan, job.plan.configuration(configuration)))


def refuse_lacking(folder: Path, lacking: Mapping[str, str], number: int) -> None:
    """Raise `ArtefactError` for a store that is not there, or lacks cases (each with its reason) of so many."""
    if not folder.exists():
        raise ArtefactError(f"{folder} is missing; {REMEDY}")
    if lacking:
        reasons = "; ".join(in_reasons(lacking))
        raise ArtefactError(f"{folder} lacks {len(lacking)} of {number} cases ({reasons}); {REMEDY}")


def wanted_cases(job: Job) -> dict[str, Wanted]:
    """Return what each case of the dataset should be made from."""
    return {case.name: Wanted(job.case_inputs(case), case.label is not None) for case in job.dataset.cases}


def in_reasons(lacking: Mapping[str, str]) -> list[str]:
    """Say why cases are lacking: each reason with its cases, and of many reasons the first ones."""
    cases: dict[str, list[str]] = {}
    for name, reason in lacking.items():
        cases.setdefault(reason, []).append(name)
    lines = [f"{listed_cases(names)}: {reason}" for reason, names in cases.items()]
    if len(lines) <= SHOWN:
        return lines
    others = [name for names in list(cases.values())[SHOWN:] for name in names]
    return [*lines[:SHOWN], f"{listed_cases(others)} likewise"]


def listed_cases(cases: list[str]) -> str:
    """Name the cases; of many the first three."""
    return f"{len(cases)} cases such as {', '.join(cases[:3])}" if len(cases) > 3 else ", ".join(cases)
