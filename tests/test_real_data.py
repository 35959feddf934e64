"""The main job on real hippocampus images (Decathlon Task04), found through SEGFW_TEST_DATA, default data/."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from segfw import load_dataset, make_fingerprint, make_plan
from segfw.interop.nnunet import read_fingerprint, read_plans

FOLDER = Path(os.environ.get("SEGFW_TEST_DATA", "data")) / "Task04_Hippocampus"
GOLDEN = Path(__file__).parent / "golden" / "plans" / "hippocampus"
NUM_CASES = 12

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs real data in {FOLDER}; set SEGFW_TEST_DATA"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Decathlon folder with the first cases."""
    root = tmp_path_factory.mktemp("real")
    target = root / FOLDER.name
    description = json.loads((FOLDER / "dataset.json").read_text())
    description["training"] = description["training"][:NUM_CASES]
    description["numTraining"] = NUM_CASES
    for entry in description["training"]:
        for path in (entry["image"], entry["label"]):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(FOLDER / path, target / path)
    (target / "dataset.json").write_text(json.dumps(description))
    return root


def segfw(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "segfw", *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_from_images_to_a_packaged_model_and_a_prediction(data, tmp_path):
    segfw(
        "+task=Task04",
        f"data_root={data}",
        f"output_root={tmp_path / 'out'}",
        "configurations=[3d_fullres]",
        "folds=0",
        "plan.batch_size=2",
        "plan.features_per_stage=[8,16,32,64]",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=3",
        "trainer.limit_val_batches=1",
        "trainer.accelerator=cpu",
        "inference.mirror=false",
    )
    model = tmp_path / "out" / "Task04_Hippocampus" / "models" / "main"
    assert yaml.safe_load((model / "model.yaml").read_text())["plan"]["labels"]["values"]["Posterior"] == 2
    image = sorted((data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[0]
    segfw("predict", f"model={model}", f"input={image}", f"output={tmp_path / 'predicted'}", "accelerator=cpu")
    before, after = sitk.ReadImage(str(image)), sitk.ReadImage(str(tmp_path / "predicted" / image.name))
    assert after.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    assert before.GetSize() == after.GetSize()
    assert before.GetSpacing() == after.GetSpacing()
    assert before.GetOrigin() == after.GetOrigin()
    assert before.GetDirection() == after.GetDirection()


def test_fingerprint_and_plan_of_all_cases_are_the_references(tmp_path):
    dataset = load_dataset(FOLDER)
    fingerprint = make_fingerprint(dataset, scratch=tmp_path)
    golden = read_fingerprint(GOLDEN / "dataset_fingerprint.json")
    assert fingerprint.shapes_after_crop == golden.shapes_after_crop
    assert np.array_equal(fingerprint.spacings, golden.spacings)
    assert fingerprint.intensities == golden.intensities
    assert fingerprint.median_relative_size_after_cropping == golden.median_relative_size_after_cropping
    plan = make_plan(dataset, fingerprint)
    wanted = read_plans(GOLDEN / "plans_default.json", dataset)
    assert plan.configurations == wanted.configurations
    assert plan.transpose_forward == wanted.transpose_forward
