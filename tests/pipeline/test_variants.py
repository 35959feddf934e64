"""Trainings beside the first, under names of their own: recipes, networks, early ends and limits of time."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from segfw import Predictor
from segfw.__main__ import main
from tests.demo_job import run_folder, same_grid, state

pytestmark = pytest.mark.slow


def test_a_debugging_recipe_goes_the_whole_way_and_replaces_nothing_but_itself(output, segfw):
    before = state(run_folder(output))
    for again in (False, True):
        status, said = segfw("debug=fdr", "trainer.max_epochs=1")
        assert status == 0, said
        assert "validation 1/1" in said
        assert ("is replaced (overwrite=true)" in said) == again
    assert (output / "models" / "debug_fdr" / "model.yaml").is_file()
    assert state(run_folder(output)) == before


def test_one_batch_is_learnt_by_heart(output, segfw):
    status, said = segfw("debug=overfit", "trainer.max_epochs=2", "trainer.limit_train_batches=15")
    assert status == 0, said
    with (run_folder(output, "debug_overfit") / "metrics.csv").open(newline="") as file:
        first, second = (float(row["train/loss"]) for row in csv.DictReader(file))
    assert second < first
    assert not (output / "models" / "debug_overfit").exists()


def test_axes_found_by_the_rule_are_recorded_and_packaged(output, segfw):
    status, said = segfw("name=auto", "augmentation.mirror_axes=auto")
    assert status == 0
    assert "augmentation.mirror_axes=auto mirrors along" in said
    run = yaml.safe_load((run_folder(output, "auto") / "config.yaml").read_text())["run"]
    assert run["augmentation"]["mirror_axes"] == "auto"
    model = yaml.safe_load((output / "models/auto/model.yaml").read_text())
    assert model["mirror_axes"] == run["mirror_axes"]
    status, said = segfw("name=auto", "augmentation.mirror_axes=auto")
    assert status == 0
    assert "nothing to do" in said


def test_weights_of_classes_that_are_not_there_are_refused_before_anything_is_made(output, segfw):
    status, said = segfw("name=weighted", "loss.class_weights={kidney: 2}")
    assert status == 2
    assert "loss.class_weights: 'kidney' is no class" in said
    assert not (output / "runs" / "weighted").exists()


def test_full_trains_on_every_case_without_a_score(output, segfw):
    status, said = segfw("folds=full", "name=everything", "stages=[train,select]", "trainer.max_epochs=1")
    assert status == 0, said
    assert "nothing was validated" in said
    model = yaml.safe_load((output / "models" / "everything" / "model.yaml").read_text())
    assert [member["fold"] for member in model["members"]] == ["full"]
    assert model["provenance"]["scores"] == {}


def test_a_fold_that_stopped_early_is_finished(output, segfw):
    stop = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=2")
    command = ("name=early", *stop, "trainer.max_epochs=9", "stages=train")
    status, said = segfw(*command)
    assert (status, "finished after 2 epochs early, since" in said) == (0, True), said
    done = yaml.safe_load((run_folder(output, "early") / "done.yaml").read_text())
    assert (done["ended"], done["epochs"]) == ("early", 2)
    assert "val/patch_dice_ema" in done["reason"]
    status, said = segfw(*command)
    assert (status, "nothing to do" in said) == (0, True), said


def test_a_command_of_limited_time_stops_and_goes_on(output, segfw):
    command = ("name=limited", "trainer.max_epochs=3", "stages=train")
    status, said = segfw(*command, "trainer.max_time=00:00:00:01", "trainer.limit_train_batches=100")
    assert (status, "max_time is over" in said, "same command goes on" in said) == (1, True, True), said
    assert not (run_folder(output, "limited") / "done.yaml").exists()


def test_a_budget_of_time_finishes(output, segfw):
    command = ("name=timed", "schedule=cosine", "schedule.horizon=time", "schedule.interval=step", "stages=train")
    status, said = segfw(*command, "trainer.max_time=00:00:00:03", "trainer.ema_half_life=0.05")
    assert status == 0, said
    done = yaml.safe_load((run_folder(output, "timed") / "done.yaml").read_text())
    assert done["ended"] == "time"
    assert done["training_seconds"] >= 3


def test_a_network_with_dropout_maps_its_uncertainty(output, raw, segfw, tmp_path):
    status, said = segfw("name=unsure", "network=bayesian_unet", "inference.samples=2", "inference.uncertainty=true")
    assert status == 0, said
    case = raw / "imagesTr" / "demo_01.nii.gz"
    command = [f"model={output / 'models' / 'unsure'}", f"input={case}", f"output={tmp_path / 'out'}"]
    assert main(["predict", *command, "accelerator=cpu"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"demo_01.nii.gz", "demo_01_uncertainty.nii.gz"}
    unsure = sitk.ReadImage(str(tmp_path / "out" / "demo_01_uncertainty.nii.gz"))
    assert same_grid(unsure, sitk.ReadImage(str(case)))
    values = sitk.GetArrayFromImage(unsure)
    assert values.dtype == np.float32
    assert 0 < values.max() <= np.log(4)
    again = Predictor.load(output / "models" / "unsure", device="cpu").predict(case, uncertainty=True).uncertainty
    assert np.array_equal(sitk.GetArrayFromImage(again), values)


def test_a_loss_of_ones_own(output, segfw):
    own = ("name=own_loss", "loss._target_=tests.nn.own_losses.Square", "stages=train", "folds=1")
    assert segfw(*own, "loss.arguments.fcator=2", "dry_run=true")[0] == 2
    status, said = segfw(*own, "loss.arguments.fcator=2")
    assert status == 2, said
    assert "unexpected keyword argument 'fcator'" in said
    status, said = segfw(*own, "loss.arguments.factor=2")
    assert status == 0, said
    (config,) = (output / "runs" / "own_loss").glob("*/*/*/fold_1/config.yaml")
    assert yaml.safe_load(config.read_text())["run"]["loss"]["arguments"] == {"factor": 2}


def test_a_network_of_ones_own(output, raw, segfw, tmp_path, capfd):
    own = ("network._target_=tests.nn.own.MyNet", "network.name=mine")
    status, said = segfw("name=own", *own, "+network.arguments.widht=6")
    assert status == 2, said
    assert "unexpected keyword argument 'widht'" in said
    status, said = segfw("name=own", *own, "+network.arguments.width=6")
    assert status == 0, said
    case = raw / "imagesTr" / "demo_01.nii.gz"
    command = [
        "predict",
        f"model={output / 'models' / 'own'}",
        f"input={case}",
        f"output={tmp_path}",
        "accelerator=cpu",
    ]
    assert main(command) == 2
    assert "code that is not part of the model" in capfd.readouterr().err
    assert main([*command, "inference.trust_code=true"]) == 0
