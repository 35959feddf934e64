"""Three real trials on the synthetic volumes through `python -m segfw -m`, in two commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

TINY = (
    "-m",
    "+task=Demo",
    "experiment=smoke",
    "hparams_search=optuna",
    "configurations=[3d_fullres]",
    "plan.patch_size=[24,24,24]",
    "plan.features_per_stage=[4,8,8,8]",
    "plan.batch_size=2",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "inference.mirror=false",
    "executor.workers=0",
)


def segfw(folder: Path, trials: int) -> str:
    command = [sys.executable, "-m", "segfw", *TINY, f"hydra.sweeper.n_trials={trials}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_three_trials_in_two_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    segfw(tmp_path, 2)
    said = segfw(tmp_path, 3)
    output = tmp_path / "outputs" / "Demo"
    tables = sorted(output.glob("sweeps/*/optimization_results.yaml"))
    first, second = (yaml.safe_load(path.read_text()) for path in tables)
    assert (first["trials"]["finished"], second["trials"]["finished"]) == (2, 3)
    assert second["all_trials"][:2] == first["all_trials"]
    assert second["best_value"] == max(trial["value"] for trial in second["all_trials"])
    assert "experiment=best_smoke" in said

    runs = [path.parent for path in output.glob("runs/*/default/*/3d_fullres/fold_0/done.yaml")]
    scores = sorted(yaml.safe_load((run / "done.yaml").read_text())["dice"] for run in runs)
    assert scores == sorted(trial["value"] for trial in second["all_trials"])
    assert not (output / "models").exists()
    assert not (output / "report").exists()
    fold = json.loads((output / "splits.json").read_text())[0]
    for run in runs:
        used = yaml.safe_load((run / "config.yaml").read_text())["run"]
        assert sorted([*used["train_cases"], *used["val_cases"]]) == fold["train"]
        assert len(used["val_cases"]) == round(0.2 * len(fold["train"]))
        assert {path.name.removesuffix(".nii.gz") for path in (run / "validation").glob("*.nii.gz")} == {
            *used["val_cases"]
        }
