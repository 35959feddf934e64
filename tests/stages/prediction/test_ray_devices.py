"""A folder segmented on a Ray cluster of this machine: the same masks, failures named, cases shared with others."""

import logging

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import DeviceError, JobError, UsageError
from segfw.core.settings.schema import ExecutorSettings
from segfw.core.settings.verbs import PredictSettings
from segfw.stages.prediction import predict
from segfw.stages.prediction.claims import CaseList
from segfw.stages.prediction.outputs import PredictionCase
from tests.stages.tiny_cases import save_images, save_tiny_model

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")
FOUR = [f"c{number}" for number in range(4)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    yield
    ray.shutdown()


@pytest.fixture
def settings(tmp_path_factory, tmp_path):
    model = save_tiny_model(tmp_path_factory.mktemp("tiny") / "model", slice(0, 1))
    save_images(tmp_path / "in", FOUR)

    def given(output="ray", executor="ray", **changes):
        places = {"model": str(model), "input": str(tmp_path / "in"), "output": str(tmp_path / output)}
        cluster = ExecutorSettings(name=executor, retries=0)
        return PredictSettings(**places, executor=cluster, accelerator="cpu", threads=1, **changes)

    return given


def masks(folder):
    return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in sorted(folder.iterdir())}


def test_two_tasks_make_what_one_process_makes_and_name_what_failed(settings, tmp_path, caplog):
    predict.run(settings("local", "local"))
    bad = [tmp_path / "in" / f"bad_000{channel}.nii.gz" for channel in range(2)]
    for path in bad:
        path.write_bytes(b"no image")
    with caplog.at_level(logging.INFO), pytest.raises(JobError, match=r"1 of 5 cases failed, .*\n  bad: cannot read"):
        predict.run(settings(devices=2))
    ours, theirs = masks(tmp_path / "ray"), masks(tmp_path / "local")
    assert ours.keys() == theirs.keys() == {f"{name}.nii.gz" for name in FOUR}
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    said = [record.getMessage() for record in caplog.records]
    assert any(line.endswith("on 2 x 1 core of a Ray cluster") for line in said)
    assert said[-1].startswith("predict: 4 done, 0 skipped, 1 failed")
    for path in bad:
        path.unlink()
    with caplog.at_level(logging.INFO):
        predict.run(settings(devices="auto"))
    assert caplog.records[-1].getMessage().startswith("predict: 0 done, 4 skipped, 0 failed")


def test_what_a_cluster_does_not_have_is_refused(settings):
    with pytest.raises(UsageError, match=r"devices=\[0, 1\]: a cluster's devices have no numbers"):
        predict.run(settings(devices=(0, 1)))
    with pytest.raises(DeviceError, match=r"devices=99 with threads=1 asks for 99 cores, the cluster has \d+"):
        predict.run(settings(devices=99))


def test_cases_that_another_command_has_segmented_count_as_skipped(tmp_path):
    cases = CaseList([PredictionCase(name, (), tmp_path / f"{name}.nii.gz") for name in FOUR])
    (tmp_path / "c1.nii.gz").touch()
    assert cases.left_of({"c0", "c1"}) == ("c0",)
    assert cases.skipped == 1
