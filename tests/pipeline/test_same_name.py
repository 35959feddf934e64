"""Further commands under the name of a training: they extend it, mend it, go on after a kill, or are refused."""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from segfw import Predictor
from tests.demo_job import TINY, run_folder, state

pytestmark = pytest.mark.slow


def test_a_training_relevant_key_needs_another_name(output, segfw):
    before = state(output / "runs")
    status, said = segfw("optimizer.lr=0.5", "sampling.foreground_fraction=0.5")
    assert status == 2
    assert "optimizer.lr: 0.01 there, 0.5 now" in said
    assert "sampling.foreground_fraction: 0.33 there, 0.5 now" in said
    assert "name=ANOTHER" in said
    assert state(output / "runs") == before


def test_one_name_is_one_recipe_over_all_configurations(output, segfw):
    before = state(output / "preprocessed")
    status, said = segfw("configurations=[2d]", "plan.patch_size=[24,24]", "loss.dice_weight=2")
    assert status == 2
    assert "loss.dice_weight: 1.0 there, 2.0 now" in said
    assert state(output / "preprocessed") == before


def test_other_callbacks_are_another_training(output, segfw):
    status, said = segfw("+callbacks.stop._target_=pytorch_lightning.callbacks.ModelSummary")
    assert status == 2
    assert "callbacks.stop._target_" in said


def test_overwriting_one_fold_does_not_mix_recipes(output, segfw):
    status, said = segfw("folds=1", "optimizer.lr=0.5", "overwrite=true")
    assert status == 2
    assert "optimizer.lr: 0.01 there, 0.5 now" in said


def test_other_splits_are_not_mixed_in(output, segfw):
    status, said = segfw("split.num_folds=4")
    assert status == 2
    assert "splits.json holds other folds" in said
    assert "split.num_folds: 5 there, 4 now" in said


def test_a_fold_that_is_not_there_is_refused(output, segfw):
    status, said = segfw("folds=7")
    assert status == 2
    assert "folds must lie between 0 and 4" in said


def test_a_checkpoint_of_unknown_origin_is_not_continued(output, segfw):
    config = run_folder(output) / "config.yaml"
    kept = config.read_text()
    config.unlink()
    try:
        status, said = segfw("trainer.max_epochs=4")
    finally:
        config.write_text(kept)
    assert (status, "checkpoint but no config.yaml" in said) == (1, True), said


def test_more_epochs_extend_the_run(output, segfw):
    status, said = segfw("trainer.max_epochs=3", "data.workers=1")
    assert status == 0, said
    rows = list(csv.DictReader((run_folder(output) / "metrics.csv").open()))
    assert [int(float(row["epoch"])) for row in rows] in ([0, 1, 2], [1, 2, 3])
    assert yaml.safe_load((run_folder(output) / "done.yaml").read_text())["epochs"] == 3


def test_damaged_artefacts_are_made_again(output, segfw):
    run, model = run_folder(output), output / "models" / "main"
    (weights,) = model.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    (run / "done.yaml").write_text("")
    (run / "validation" / "metrics.json").write_text("{}")
    (run / "metrics.csv").write_bytes(b"epoch,lr\n1,abc\xff\n")
    (output / "report" / "index.html").write_bytes(b"\xff")
    record = sorted((output / "preprocessed").glob("*/demo_05.record.json"))[0]
    record.write_text(record.read_text()[:50])
    (record.parent / "manifest.json").write_text('{"format": 1}')
    epochs = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    status, said = segfw(f"trainer.max_epochs={epochs}")
    assert status == 0, said
    assert "Traceback" not in said
    assert json.loads((run / "validation" / "metrics.json").read_text())["cases"]
    assert Predictor.load(model, device="cpu").num_channels == 1
    assert "19 of 20 cases are there already" in said


def test_a_damaged_checkpoint_or_config_is_explained(output, segfw):
    run = run_folder(output)
    for name, damage in (("checkpoints/last.ckpt", b"PK\x03\x04 no checkpoint"), ("config.yaml", b"[1]")):
        kept = (run / name).read_bytes()
        (run / name).write_bytes(damage)
        try:
            status, said = segfw("trainer.max_epochs=50")
        finally:
            (run / name).write_bytes(kept)
        assert (status, str(run / name) in said, "unexpected" in said) == (1, True, False), said
        assert "remove it" in said or "put the file back" in said


def test_a_killed_run_is_continued(roots, tmp_path):
    """Three kills at growing distances, then the same command completes."""
    command = [sys.executable, "-m", "segfw", *TINY, roots[0], f"output_root={tmp_path}"]
    for seconds in (4, 8, 12):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "Demo" / "models" / "main" / "model.yaml").is_file()
    assert not list((tmp_path / "Demo").rglob(".tmp-*/manifest.json"))
