"""What a packaged model says of its origin: enough to judge and repeat it, no case name, path or host."""

import math
import platform
import subprocess
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segfw.core.cases.places import places_in
from segfw.core.scoring.selection import Score
from segfw.core.support.conversion import to_plain
from segfw.core.version import __version__
from segfw.inference.model_card import OURS
from segfw.inference.provenance import Provenance, stated
from segfw.nn.own_network import check_portable
from segfw.stages.job import Job
from segfw.stages.trainings.runs import FinishedFold
from segfw.tracking.scrubbing import HIDDEN, scrub_nested, scrub_text
from segfw.workspace import MadeFrom

PACKAGES = ("torch", "pytorch-lightning", "numpy", "scipy", "SimpleITK", "torchio")
SETTINGS = ("augmentation", "loss", "optimizer", "schedule", "sampling", "trainer", "seed", "pretrained_sha256")


def make_provenance(job: Job, members: list[FinishedFold], score: Score | None, made_from: MadeFrom) -> Provenance:
    """Say what made the model of these members. `score`: of their cross-validation, None without one."""
    first = members[0].run
    check_portable(first.network)
    cases = {*(case.name for case in job.dataset.cases), *first.train_cases, *first.val_cases}
    scores = {"dice": score.dice, **{f"dice/{k}": v for k, v in score.dice_per_label.items()}} if score else {}
    return Provenance(
        created=datetime.now(UTC).date().isoformat(),
        dataset=job.record.content,
        versions={"segfw": __version__, "python": platform.python_version(), **_versions()},
        scores={name: value for name, value in scores.items() if not math.isnan(value)},
        settings=_told(to_plain(first), cases),
        made_from=made_from,
        code=_commit(),
        num_scored=score.num_cases if score else 0,
        data=stated(job.dataset, job.settings.task.modality or "", len(job.dataset.cases)),
        trained_by=OURS,
    )


def _told(run: Mapping[str, Any], cases: Collection[str]) -> dict[str, Any]:
    """Return the settings of a training, cases counted, and what somebody may have written freely without its secrets.

    Predicting needs no loss, so that one may be given files of this machine.
    """
    augmentation, loss, sampling = run["augmentation"], run["loss"], run["sampling"]
    weights, given = sampling["case_weights"], loss["arguments"]
    arguments = {name: HIDDEN if any(places_in(name, value)) else value for name, value in given.items()}
    return {group: run[group] for group in SETTINGS} | {
        "augmentation": {**augmentation, "name": scrub_text(augmentation["name"], cases)},
        "loss": {**loss, "arguments": scrub_nested(arguments, cases)},
        "sampling": {**sampling, "case_weights": None if weights is None else len(weights)},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # bundled otherwise
            continue
    return found


def _commit() -> str:
    """Return the commit of the checkout that the package runs from, `-dirty` if changed since; empty for a release."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return ""
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
