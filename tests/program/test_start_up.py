"""What a command loads before it answers or computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imports_of(*words, cwd):
    """Run the program; return its end and the modules that it imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "importtime", "-m", "segfw", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False)
    return done, {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    ("words", "status"), [(["--help"], 0), (["--version"], 0), (["+task=Task04", "trainer.max_epoch=3"], 2)]
)
def test_help_and_mistakes_are_answered_without_loading_the_heavy_libraries(tmp_path, words, status):
    done, modules = imports_of(*words, cwd=tmp_path)
    assert done.returncode == status
    packages = {name.partition(".")[0] for name in modules}
    assert "hydra" in packages
    heavy = {"torch", "torchio", "lightning", "pytorch_lightning", "lightning_fabric", "SimpleITK", "scipy"}
    assert not packages & (heavy | {"matplotlib", "PIL", "wandb", "mlflow", "tensorboard", "ray", "optuna", "onnx"})
    assert list(tmp_path.iterdir()) == []


def test_predicting_loads_nothing_that_only_training_needs(tmp_path):
    done, modules = imports_of("predict", "model=nowhere", "input=scan.nii.gz", "output=there", cwd=tmp_path)
    assert f"segfw: no model at {tmp_path}/nowhere" in done.stderr
    assert {"torch", "segfw.inference.predictor"} <= modules
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"pytorch_lightning", "lightning_fabric", "torchmetrics", "torchio", "matplotlib", "wandb"}
