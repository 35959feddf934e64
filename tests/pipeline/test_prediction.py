"""Predictions by the model that the main job leaves, by command and from Python."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from segfw import Predictor
from segfw.__main__ import main
from segfw.core.errors import DataError
from tests.demo_job import same_grid

pytestmark = pytest.mark.slow


def test_predict_and_evaluate(output, raw, tmp_path, capfd):
    some = tmp_path / "in"
    some.mkdir()
    for name in ("demo_00.nii.gz", "demo_01.nii.gz"):
        (some / name).symlink_to(raw / "imagesTr" / name)
    (some / "broken.nii.gz").write_bytes(b"no image")
    model = f"model={output / 'models' / 'main'}"
    target = tmp_path / "out with, comma"
    assert main(["predict", model, f"input={some}", f"output={target}", "accelerator=cpu"]) == 1
    said = "".join(capfd.readouterr())
    assert "broken" in said
    assert "Traceback" not in said
    predicted = {path.name for path in target.glob("*.nii.gz")}
    assert predicted == {"demo_00.nii.gz", "demo_01.nii.gz"}
    for name in predicted:
        assert same_grid(sitk.ReadImage(str(some / name)), sitk.ReadImage(str(target / name)))
    assert main(["evaluate", f"predictions={target}", f"references={raw / 'labelsTr'}", "executor.workers=0"]) == 0
    metrics = json.loads((target / "metrics.json").read_text())
    assert [case["case"] for case in metrics["cases"]] == ["demo_00", "demo_01"]
    assert (target / "metrics.csv").is_file()


def test_images_are_never_overwritten(output, raw, tmp_path, capfd):
    image = tmp_path / "demo_00.nii.gz"
    shutil.copy(raw / "imagesTr" / "demo_00.nii.gz", image)
    before = image.read_bytes()
    model = f"model={output / 'models' / 'main'}"
    assert main(["predict", model, f"input={tmp_path}", f"output={tmp_path}", "overwrite=true", "accelerator=cpu"]) == 2
    assert "is one of the images" in capfd.readouterr().err
    image.rename(tmp_path / "demo_00_0000.nii.gz")
    assert main(["predict", model, f"input={tmp_path}", f"output={tmp_path}", "accelerator=cpu"]) == 2
    assert "the images' own folder" in capfd.readouterr().err
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("demo_00_0000.nii.gz", before)]


def test_the_python_interface_agrees_with_itself(output, raw):
    path = raw / "imagesTr" / "demo_02.nii.gz"
    predictor = Predictor.load(output / "models" / "main", device="cpu")
    image = sitk.ReadImage(str(path))
    from_path = predictor.predict(path).segmentation
    from_image = predictor.predict(image).segmentation
    from_array = predictor.predict(sitk.GetArrayFromImage(image), spacing=image.GetSpacing()[::-1])
    assert same_grid(from_path, image)
    assert np.array_equal(sitk.GetArrayFromImage(from_path), sitk.GetArrayFromImage(from_image))
    assert np.array_equal(sitk.GetArrayFromImage(from_path), from_array.segmentation)
    with_probabilities = predictor.predict(path, probabilities=True).probabilities
    assert with_probabilities is not None
    assert np.allclose(with_probabilities.sum(0), 1, atol=1e-3)
    with pytest.raises(DataError, match=r"1 channel .*got 2"):
        predictor.predict(np.zeros((2, 8, 8, 8)), spacing=(1, 1, 1))
