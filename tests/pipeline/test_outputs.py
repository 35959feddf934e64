"""What the main job leaves: every file that was promised, on the right grids, with no name of a host, and not twice."""

import getpass
import json
import os
import platform
import socket
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
import yaml

from segfw.core.version import __version__
from tests.demo_job import run_folder, same_grid, state

pytestmark = pytest.mark.slow


def test_everything_the_contract_names_is_there(output):
    for name in ("dataset.yaml", "splits.json", "fingerprint.yaml", "plans/default.yaml", "report/index.html"):
        assert (output / name).is_file(), name
    run = run_folder(output)
    for name in ("config.yaml", "metrics.csv", "training.png", "train.log", "done.yaml", "checkpoints/last.ckpt"):
        assert (run / name).is_file(), name
    for name in ("checkpoints/best.ckpt", "validation/metrics.json", "validation/metrics.csv"):
        assert (run / name).is_file(), name
    assert (output / "selection" / "main.yaml").is_file()
    assert list((output / "models" / "main").glob("*.safetensors"))
    assert list((output / "report").glob("example_main_demo_*.nii.gz"))


def test_a_finished_fold_tells_what_made_it_and_no_host(output):
    text = (run_folder(output) / "done.yaml").read_text()
    done = yaml.safe_load(text)
    assert done["machine"].startswith("CPU, ")
    assert 0.05 < done["peak_memory_gb"] < 64
    assert done["peak_device_memory_gb"] is None
    assert done["versions"] == {
        "segfw": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    assert socket.gethostname() not in text


def test_splits_are_in_nnunets_form(output):
    folds = json.loads((output / "splits.json").read_text())
    assert [sorted(fold) for fold in folds] == [["train", "val"]] * 5
    assert sorted(name for fold in folds for name in fold["val"]) == [f"demo_{i:02d}" for i in range(20)]


def test_the_model_tells_nothing_of_cases_paths_or_hosts(output):
    model = output / "models" / "main"
    words = ("demo_", str(output.parent), str(Path.home()), os.uname().nodename, getpass.getuser())
    for path in model.iterdir():
        content = path.read_bytes()
        if path.suffix == ".safetensors":  # its text: names and shapes of tensors
            content = content[: 8 + int.from_bytes(content[:8], "little")]
        assert [word for word in words if word.encode() in content] == [], path
    content = yaml.safe_load((model / "model.yaml").read_text())
    assert content["format_version"] == 1
    assert content["provenance"]["scores"]["dice"] >= 0
    assert content["provenance"]["data"]["licence"] == "CC0"
    assert "- Licence: CC0\n" in (model / "README.md").read_text()


def test_whole_cases_are_validated_on_their_own_grid(output, raw):
    cases = {path.name for path in (run_folder(output) / "validation").glob("*.nii.gz")}
    folds = json.loads((output / "splits.json").read_text())
    assert cases == {f"{name}.nii.gz" for name in folds[0]["val"]}
    for name in cases:
        image = sitk.ReadImage(str(raw / "imagesTr" / name))
        predicted = sitk.ReadImage(str(run_folder(output) / "validation" / name))
        assert same_grid(image, predicted)


def test_a_second_run_redoes_nothing(output, segfw):
    before, page = state(output), (output / "report" / "index.html").read_text()
    status, said = segfw()
    assert status == 0
    assert said.count("nothing to do") >= 5
    again = (output / "report" / "index.html").read_text()
    differs = next((i for i, (now, then) in enumerate(zip(again, page, strict=False)) if now != then), None)
    assert differs is None, (
        f"{page[differs - 300 : differs + 100]!r} has become {again[differs - 300 : differs + 100]!r}"
    )
    assert state(output) == before
