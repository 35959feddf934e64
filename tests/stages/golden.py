"""Where reference values lie for the tests of this folder, and a job that has them."""

from pathlib import Path

from segfw.core.cases.splits import Fold
from segfw.core.settings.schema import ExperimentSettings
from segfw.interop.nnunet import read_dataset_json, read_fingerprint, read_plans
from segfw.stages.dataset.record import DatasetRecord
from segfw.stages.job import Job
from segfw.workspace import Workspace

HIPPOCAMPUS = Path(__file__).parents[1] / "golden" / "plans" / "hippocampus"


def make_job(folder: Path, settings: ExperimentSettings) -> Job:
    """Make a job whose artefacts are there: nnU-Net's of the hippocampus."""
    job = Job(settings, Workspace(folder), DatasetRecord(read_dataset_json(HIPPOCAMPUS / "dataset.json"), {}))
    job.__dict__.update(
        fingerprint=read_fingerprint(HIPPOCAMPUS / "dataset_fingerprint.json"),
        generated_plan=read_plans(HIPPOCAMPUS / "plans_default.json"),
        splits=(Fold(("a", "b"), ("c",)), Fold(("a", "c"), ("b",))),
    )
    return job
