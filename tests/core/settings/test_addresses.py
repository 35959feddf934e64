"""Addresses among the settings: of raw data they become paths in the cache, elsewhere they are refused."""

import pytest

from segfw.core.errors import UsageError
from segfw.core.settings.checks import check_settings
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.settings.verbs import DownloadSettings, EvaluateSettings, PredictSettings, VerificationSettings

BUCKET = "s3://bucket/decathlon"
TASK = TaskSettings(name="Task04_Hippocampus")


@pytest.mark.parametrize("kind", [ExperimentSettings, VerificationSettings])
def test_raw_data_may_lie_at_addresses(kind):
    checked = check_settings(kind(task=TASK, data_root=BUCKET, data_cache="/cache"))
    assert checked.data_root == "/cache/segfw-addresses/s3:/bucket/decathlon"
    assert checked.task.folder == "Task04_Hippocampus"
    assert check_settings(checked) == checked
    own = TaskSettings(name="Mine", folder="https://host/cases.csv")
    assert (
        check_settings(kind(task=own, data_cache="/cache")).task.folder
        == "/cache/segfw-addresses/https:/host/cases.csv"
    )
    assert (
        check_settings(PredictSettings(input=BUCKET, data_cache="/c")).input
        == "/c/segfw-addresses/s3:/bucket/decathlon"
    )


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (ExperimentSettings(task=TASK, output_root=BUCKET), "output_root"),
        (ExperimentSettings(task=TASK, data_cache=BUCKET), "data_cache"),
        (ExperimentSettings(task=TaskSettings(name="Mine", label_folder=BUCKET)), "task.label_folder"),
        (PredictSettings(output=BUCKET), "output"),
        (EvaluateSettings(references=BUCKET), "references"),
        (DownloadSettings(task=TASK, data_root=BUCKET), "data_root"),
        (DownloadSettings(task=TaskSettings(name="Mine", folder=BUCKET)), "task.folder"),
    ],
)
def test_other_places_are_paths(settings, key):
    with pytest.raises(UsageError, match=f"{key}=s3://bucket/decathlon must be a path"):
        check_settings(settings)
