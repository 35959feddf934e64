"""The main job through the program itself, from synthetic images to a packaged model and a prediction."""

import csv
import getpass
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml

from segfw import Predictor
from segfw.__main__ import main
from segfw.core.errors import DataError
from segfw.core.version import __version__

pytestmark = pytest.mark.slow

TINY = (
    "+task=Demo",
    "experiment=published",
    "configurations=[3d_fullres]",
    "folds=0",
    "plan.patch_size=[24,24,24]",
    "plan.features_per_stage=[4,8,8,8]",
    "plan.batch_size=2",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
    "inference.mirror=false",
    "executor.workers=0",
)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pipeline")
    return f"data_root={folder / 'data'}", f"output_root={folder / 'out'}"


@pytest.fixture(scope="module")
def output(roots: tuple[str, str]) -> Path:
    """The folder that the main job leaves."""
    done = subprocess.run(
        [sys.executable, "-m", "segfw", *TINY, *roots], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return Path(roots[1].removeprefix("output_root=")) / "Demo"


@pytest.fixture
def segfw(
    roots: tuple[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run the program in this process with changed settings; return its exit status and what it said."""

    monkeypatch.setattr(
        "segfw.core.planning.fingerprint.TOTAL_SAMPLES", 20_000
    )  # of whole datasets: ten seconds a fingerprint

    def run(*changes: str) -> tuple[int, str]:
        keys = {change.split("=")[0] for change in changes}
        kept = [argument for argument in (*TINY, *roots) if argument.split("=")[0] not in keys]
        status = main([*kept, *changes])
        said = capfd.readouterr()
        return status, said.out + said.err

    return run


def run_folder(output: Path, name: str = "main") -> Path:
    return output / "runs" / name / "default" / "planned" / "3d_fullres" / "fold_0"


def state(folder: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts
    }


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


def test_whole_cases_are_validated_on_their_own_grid(output):
    cases = {path.name for path in (run_folder(output) / "validation").glob("*.nii.gz")}
    folds = json.loads((output / "splits.json").read_text())
    assert cases == {f"{name}.nii.gz" for name in folds[0]["val"]}
    for name in cases:
        image = sitk.ReadImage(str(output.parent.parent / "data" / "Demo" / "imagesTr" / name))
        predicted = sitk.ReadImage(str(run_folder(output) / "validation" / name))
        assert same_grid(image, predicted)


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    return (
        one.GetSize() == other.GetSize()
        and one.GetSpacing() == other.GetSpacing()
        and one.GetOrigin() == other.GetOrigin()
        and one.GetDirection() == other.GetDirection()
    )


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


def test_a_training_relevant_key_needs_another_name(output, segfw):
    before = state(output / "runs")
    status, said = segfw("optimizer.lr=0.5", "sampling.foreground_fraction=0.5")
    assert status == 2
    assert "optimizer.lr: 0.01 there, 0.5 now" in said
    assert "sampling.foreground_fraction: 0.33 there, 0.5 now" in said
    assert "name=ANOTHER" in said
    assert state(output / "runs") == before


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


def test_one_name_is_one_recipe_over_all_configurations(output, segfw):
    before = state(output / "preprocessed")
    status, said = segfw("configurations=[2d]", "plan.patch_size=[24,24]", "loss.dice_weight=2")
    assert status == 2
    assert "loss.dice_weight: 1.0 there, 2.0 now" in said
    assert state(output / "preprocessed") == before


def test_weights_of_classes_that_are_not_there_are_refused_before_anything_is_made(output, segfw):
    status, said = segfw("name=weighted", "loss.class_weights={kidney: 2}")
    assert status == 2
    assert "loss.class_weights: 'kidney' is no class" in said
    assert not (output / "runs" / "weighted").exists()


def test_a_checkpoint_of_unknown_origin_is_not_continued(output, segfw, tmp_path):
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


def test_a_missing_input_names_its_stage(output, segfw, tmp_path):
    status, said = segfw("stages=[plan]", f"output_root={tmp_path}")
    assert status == 1
    assert "fingerprint.yaml is missing" in said
    assert "stages=[fingerprint,...]" in said


def test_an_edited_plan_is_used_announced_and_kept(output, segfw, tmp_path):
    assert segfw("stages=[fingerprint,plan]", f"output_root={tmp_path}")[0] == 0
    plan = tmp_path / "Demo" / "plans" / "default.yaml"
    edited = plan.read_text().replace("batch_dice: false", "batch_dice: true")
    assert edited != plan.read_text()
    plan.write_text(edited)
    status, said = segfw("stages=[fingerprint,plan]", f"output_root={tmp_path}")
    assert status == 0
    assert "edited by hand" in said
    assert plan.read_text() == edited


def test_changed_raw_data_makes_artefacts_stale(output, segfw, tmp_path):
    data = tmp_path / "data"
    assert segfw("stages=[fingerprint]", f"data_root={data}", f"output_root={tmp_path}")[0] == 0
    path = data / "Demo" / "imagesTr" / "demo_03.nii.gz"
    image = sitk.ReadImage(str(path))
    image[5, 5, 5] = 77
    sitk.WriteImage(image, str(path))
    status, said = segfw("stages=[plan]", f"data_root={data}", f"output_root={tmp_path}")
    assert (status, "stale (dataset changed since)" in said) == (1, True), said
    status, said = segfw("stages=[fingerprint]", f"data_root={data}", f"output_root={tmp_path}")
    assert (status, "made anew, dataset changed since" in said) == (0, True), said


def test_other_splits_are_not_mixed_in(output, segfw):
    status, said = segfw("split.num_folds=4")
    assert status == 1
    assert "splits.json holds other folds" in said


def test_a_fold_that_is_not_there_is_refused(output, segfw):
    status, said = segfw("folds=7")
    assert status == 2
    assert "folds must lie between 0 and 4" in said


def test_full_trains_on_every_case_without_a_score(output, segfw):
    status, said = segfw("folds=full", "name=everything", "stages=[train,select]", "trainer.max_epochs=1")
    assert status == 0, said
    assert "nothing was validated" in said
    model = yaml.safe_load((output / "models" / "everything" / "model.yaml").read_text())
    assert [member["fold"] for member in model["members"]] == ["full"]
    assert model["provenance"]["scores"] == {}


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


def test_other_callbacks_are_another_training(output, segfw):
    status, said = segfw("+callbacks.stop._target_=pytorch_lightning.callbacks.ModelSummary")
    assert status == 2
    assert "callbacks.stop._target_" in said


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


def test_overwriting_one_fold_does_not_mix_recipes(output, segfw):
    status, said = segfw("folds=1", "optimizer.lr=0.5", "overwrite=true")
    assert status == 2
    assert "optimizer.lr: 0.01 there, 0.5 now" in said


def test_an_edited_plan_that_is_stale_besides_says_so(output, segfw, tmp_path):
    assert segfw("stages=[fingerprint,plan]", f"output_root={tmp_path}")[0] == 0
    plan = tmp_path / "Demo" / "plans" / "default.yaml"
    plan.write_text(plan.read_text().replace("batch_dice: false", "batch_dice: true"))
    status, said = segfw("stages=[plan]", f"output_root={tmp_path}", "planner.gpu_memory_gb=20")
    assert status == 0
    assert "planner.gpu_memory_gb changed since, which the edited plan does not know" in said


def test_undeclared_label_values_are_named(output, segfw, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(output.parent.parent / "data", data)
    path = data / "Demo" / "labelsTr" / "demo_04.nii.gz"
    label = sitk.ReadImage(str(path))
    label[3, 3, 3] = 7
    sitk.WriteImage(label, str(path))
    status, said = segfw("stages=[fingerprint]", f"data_root={data}", f"output_root={tmp_path}")
    assert status == 1
    assert "demo_04  error     label-values  value 7 in 1 voxel; declared are 0, 1, 2, 3" in said
    assert not (tmp_path / "Demo" / "fingerprint.yaml").exists()


def test_images_are_never_overwritten(output, tmp_path, capfd):
    image = tmp_path / "demo_00.nii.gz"
    shutil.copy(output.parent.parent / "data" / "Demo" / "imagesTr" / "demo_00.nii.gz", image)
    before = image.read_bytes()
    model = f"model={output / 'models' / 'main'}"
    assert main(["predict", model, f"input={tmp_path}", f"output={tmp_path}", "overwrite=true", "accelerator=cpu"]) == 2
    assert "is one of the images" in capfd.readouterr().err
    image.rename(tmp_path / "demo_00_0000.nii.gz")
    assert main(["predict", model, f"input={tmp_path}", f"output={tmp_path}", "accelerator=cpu"]) == 2
    assert "the images' own folder" in capfd.readouterr().err
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("demo_00_0000.nii.gz", before)]


def test_what_training_would_refuse_is_said_first(segfw, tmp_path):
    for change, message in (
        ("+callbacks.x._target_=nonsense.Foo", "callbacks.x._target_: cannot import 'nonsense.Foo'"),
        ("augmentation.device=cpu data.cache=device", "augmentation.device=cpu keeps the augmentation where patches"),
        ("trainer.accelerator=mps", "PyTorch finds no Apple GPU")
        if sys.platform == "linux"
        else ("trainer.accelerator=cuda", "there is no CUDA device"),
    ):
        status, said = segfw(*change.split(), f"output_root={tmp_path}")
        assert status in (1, 2)
        assert message in said
        assert not (tmp_path / "Demo" / "fingerprint.yaml").exists()


def test_a_file_in_a_folders_place_is_named(segfw, tmp_path):
    (tmp_path / "file").write_text("")
    status, said = segfw(f"output_root={tmp_path / 'file'}")
    assert status in (1, 2)
    assert str(tmp_path / "file") in said
    assert "unexpected" not in said


def test_predict_and_evaluate(output, tmp_path, capfd):
    data = output.parent.parent / "data" / "Demo"
    some = tmp_path / "in"
    some.mkdir()
    for name in ("demo_00.nii.gz", "demo_01.nii.gz"):
        (some / name).symlink_to(data / "imagesTr" / name)
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
    assert main(["evaluate", f"predictions={target}", f"references={data / 'labelsTr'}", "executor.workers=0"]) == 0
    metrics = json.loads((target / "metrics.json").read_text())
    assert [case["case"] for case in metrics["cases"]] == ["demo_00", "demo_01"]
    assert (target / "metrics.csv").is_file()


def test_the_python_interface_agrees_with_itself(output):
    path = output.parent.parent / "data" / "Demo" / "imagesTr" / "demo_02.nii.gz"
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
    with pytest.raises(DataError, match=r"1 channels.*got 2"):
        predictor.predict(np.zeros((2, 8, 8, 8)), spacing=(1, 1, 1))


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


def test_a_network_with_dropout_maps_its_uncertainty(segfw, output, tmp_path):
    status, said = segfw("name=unsure", "network=bayesian_unet", "inference.samples=2", "inference.uncertainty=true")
    assert status == 0, said
    case = output.parent.parent / "data" / "Demo" / "imagesTr" / "demo_01.nii.gz"
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


def test_a_loss_of_ones_own(segfw, output):
    own = ("name=own_loss", "loss._target_=tests.nn.own_losses.Square", "stages=train", "folds=1")
    assert segfw(*own, "loss.arguments.fcator=2", "dry_run=true")[0] == 2
    status, said = segfw(*own, "loss.arguments.fcator=2")
    assert status == 2, said
    assert "unexpected keyword argument 'fcator'" in said
    status, said = segfw(*own, "loss.arguments.factor=2")
    assert status == 0, said
    (config,) = (output / "runs" / "own_loss").glob("*/*/*/fold_1/config.yaml")
    assert yaml.safe_load(config.read_text())["run"]["loss"]["arguments"] == {"factor": 2}


def test_a_network_of_ones_own(segfw, output, tmp_path, capfd):
    own = ("network._target_=tests.nn.own.MyNet", "network.name=mine")
    status, said = segfw("name=own", *own, "+network.arguments.widht=6")
    assert status == 2, said
    assert "unexpected keyword argument 'widht'" in said
    status, said = segfw("name=own", *own, "+network.arguments.width=6")
    assert status == 0, said
    case = output.parent.parent / "data" / "Demo" / "imagesTr" / "demo_01.nii.gz"
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
