"""The example segments as segfw does, and refuses what it would get wrong."""

import ast
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.examples import predict_onnx
from segfw.core.settings.schema import InferenceSettings
from segfw.inference.predictor import CasePredictor
from segfw.interop.onnx import export_onnx
from segfw.io.formats.readers import read_image
from tests.inference.tiny_model import make_bundle, make_plan


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two 3D folds, exported; two channels, turned axes."""
    whole = make_bundle(make_plan())
    small = dataclasses.replace(whole, members=whole.members[:2], inference=InferenceSettings(step_size=0.5))
    folder = tmp_path_factory.mktemp("example") / "model"
    export_onnx(small, folder)
    return small, folder


def write(path, array, spacing):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((3, -4, 5))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


@pytest.fixture
def channels(tmp_path):
    """A scaled integer channel and one of floats, with a margin of zeros, on a grid that is not the model's."""
    rng = np.random.default_rng(3)
    first = rng.integers(1, 500, (14, 11, 12)).astype(np.int16)
    first[:, :2] = 0
    second = rng.normal(0, 1, first.shape).astype(np.float32)
    second[:, :2] = 0
    paths = [tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii"]
    for path, array in zip(paths, (first, second), strict=True):
        write(path, array, (0.8, 1.1, 1.3))
    return paths


def test_it_segments_as_segfw_does(model, channels, tmp_path):
    bundle, folder = model
    predict_onnx.main(folder, str(tmp_path / "out.nii.gz"), *map(str, channels))
    expected = CasePredictor(bundle, "cpu").predict(read_image(tuple(channels)))
    written = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    found = sitk.GetArrayFromImage(written)
    assert (written.GetPixelIDTypeAsString(), found.shape) == ("8-bit unsigned integer", (14, 11, 12))
    assert np.mean(found != expected.segmentation) < 1e-3  # ties of logits that segfw rounds to float16
    assert len(np.unique(found)) > 1
    image = sitk.ReadImage(str(channels[0]))
    assert written.GetDirection() == image.GetDirection()
    assert np.allclose(written.GetOrigin(), image.GetOrigin())
    assert np.allclose(written.GetSpacing(), image.GetSpacing())


def test_it_refuses_what_it_would_get_wrong(model, channels, tmp_path):
    described = json.loads((model[1] / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(described | {"needs": ["2D windows"]}))
    with pytest.raises(SystemExit, match=r"it cannot do \['2D windows'\]"):
        predict_onnx.main(tmp_path, str(tmp_path / "out.nii"), *map(str, channels))
    with pytest.raises(SystemExit, match=r"takes \['T1', 'mask'\]"):
        predict_onnx.main(model[1], str(tmp_path / "out.nii"), str(channels[0]))
    write(tmp_path / "coarse.nii", np.ones((4, 5, 6), np.float32), (1, 1, 3.5))
    with pytest.raises(SystemExit, match="of a spacing up to 3:1"):
        predict_onnx.main(model[1], str(tmp_path / "out.nii"), *[str(tmp_path / "coarse.nii")] * 2)


def test_it_fits_on_a_page():
    assert len(Path(predict_onnx.__file__).read_text(encoding="utf-8").splitlines()) <= 60


def test_an_empty_image_is_segmented(model, tmp_path):
    write(tmp_path / "empty.nii", np.zeros((4, 5, 6), np.float32), (1, 1, 1))
    predict_onnx.main(model[1], str(tmp_path / "out.nii"), *[str(tmp_path / "empty.nii")] * 2)
    expected = CasePredictor(model[0], "cpu").predict(read_image((tmp_path / "empty.nii",) * 2))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii"))), expected.segmentation)


def test_it_refuses_other_files(tmp_path):
    array = np.zeros((2, 3, 4, 5), np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(tmp_path / "four.nii"))
    with pytest.raises(SystemExit, match=r"four\.nii: this example reads little-endian NIfTI-1 of three axes"):
        predict_onnx.read(str(tmp_path / "four.nii"))


def test_it_needs_nothing_but_numpy_and_onnxruntime():
    text = Path(predict_onnx.__file__).read_text(encoding="utf-8")
    imported = {node.names[0].name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)}
    named = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert imported | named == {"gzip", "itertools", "json", "pathlib", "struct", "sys", "numpy", "onnxruntime"}
