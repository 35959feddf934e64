"""Pages that tell a story are done as they are written, with networks and images of seconds."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
import yaml

from segfw.__main__ import main
from segfw.core.labels import LabelSet
from segfw.core.planning.planning import make_plan
from segfw.core.settings.training import LossSettings
from segfw.core.support.files import write_text
from segfw.interop.nnunet import read_dataset_json, read_fingerprint
from segfw.io.datasets.phantom import make_phantom_dataset
from segfw.nn.losses import build_loss
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, segfw_words

pytestmark = pytest.mark.slow

TRAINING = (
    *("plan.patch_size=[16,16,16]", "plan.features_per_stage=[4,8,8]", "plan.strides=[[1,1,1],[2,2,2],[2,2,2]]"),
    *("plan.kernel_sizes=[[3,3,3],[3,3,3],[3,3,3]]", "plan.n_conv_per_stage=[1,1,1]"),
    *("plan.n_conv_per_stage_decoder=[1,1]", "plan.batch_size=2", "trainer.max_epochs=1"),
    *("trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.accelerator=cpu"),
    *("trainer.enable_progress_bar=false", "inference.mirror=false", "data.workers=0", "executor.workers=0"),
)
SHORTER = {  # verb -> what makes it a matter of seconds
    "experiment": TRAINING,
    "status": TRAINING,
    "predict": ("accelerator=cpu", "threads=1"),
    "verify": ("executor.workers=0",),
    "init": ("workers=0",),
}
GOLDEN = ROOT / "tests" / "golden" / "plans" / "hippocampus"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with the folders that the pages speak of, and a program that looks at fewer voxels."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 5_000)
        patch.setattr("segfw.io.datasets.phantom.NUM_CASES", 6)
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        make_phantom_dataset(folder / "data" / "Demo")
        shutil.copytree("data/Demo/imagesTr", "scans")
        shutil.copytree("data/Demo/labelsTr", "masks")
        shutil.copyfile("scans/demo_00.nii.gz", "scan.nii.gz")
        _list_files(folder)
        shutil.copytree(GOLDEN, "nnUNet_preprocessed/Dataset004_Mine")
        yield folder


def _list_files(folder: Path) -> None:
    """Write cases.csv: the images, and label maps of one label."""
    rows = ["case,image,label"]
    for path in sorted(Path("masks").iterdir()):
        binary = folder / "binary" / path.name
        binary.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(path)) > 0, sitk.sitkUInt8), str(binary))
        rows.append(f"{path.name.split('.')[0]},{folder / 'scans' / path.name},{binary}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")


def run(words: list[str], folder: Path, *further: str) -> None:
    """Run a command of a page in the folder, shortened; `further` words are for those that train."""
    given = segfw_words(words)
    if given is None:
        assert words[0] == "python", words
        is_ours = words[1] != "-m" and not (folder / words[1]).exists()
        program = str(ROOT / words[1]) if is_ours else words[1]
        done = subprocess.run([sys.executable, program, *words[2:]], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), (words, done.stdout)
        return
    given = [word.replace("/data/cases.csv", str(folder / "cases.csv")) for word in given]
    verb = given[0] if given[0] in SHORTER else "experiment" if "=" in given[0] else given[0]
    more = (*SHORTER.get(verb, ()), *(further if verb == "experiment" else ()))
    if any(word.startswith("stages=[fingerprint") for word in given):
        more = ("executor.workers=0",)
    if any(word.startswith("planner.plan_file") for word in given):
        more = tuple(word for word in more if not word.startswith("plan."))
    assert main([*given, *more]) == 0, given


def page(name: str) -> Path:
    return ROOT / "docs" / f"{name}.md"


@pytest.fixture(scope="module")
def first_dataset(place: Path) -> Path:
    """The folder when docs/first-dataset.md has been followed to its end."""
    (labels,) = [yaml.safe_load(block.text)["labels"] for block in blocks(page("first-dataset"), "yaml")]
    for _, words in commands(page("first-dataset")):
        run(words, place)
        if "init" in words:
            path = Path("configs/task/Mine.yaml")
            task = yaml.safe_load(path.read_text()) | {"labels": labels}
            write_text(path, yaml.safe_dump(task))
    Path("outputs/Mine/models/main").symlink_to("fast")
    Path("outputs/Task04_Hippocampus").symlink_to("Mine")
    return place


def test_the_first_dataset_becomes_a_model_and_scores(first_dataset: Path) -> None:
    assert len(list((first_dataset / "segmented").glob("*.nii.gz"))) == 6
    assert (first_dataset / "segmented" / "metrics.json").is_file()
    assert (first_dataset / "outputs/Mine/runs/adamw_slow").is_dir()
    assert (first_dataset / "outputs/Listed/plans/default.yaml").is_file()
    report = (first_dataset / "outputs/Mine/report/index.html").read_text()
    assert "left_organ" in report


def test_a_model_is_exported_as_deployment_says(first_dataset: Path) -> None:
    Path("mine.zip").unlink()  # of the page before
    for _, words in commands(page("deployment")):
        if "export" in words:
            run(words, first_dataset)
    assert (first_dataset / "mine_nnunet" / "plans.json").is_file()
    (example,) = [words for _, words in commands(page("deployment")) if words[1].endswith("predict_onnx.py")]
    done = subprocess.run(
        [sys.executable, str(ROOT / example[1]), *example[2:]], capture_output=True, text=True, check=False
    )
    needed = json.loads((first_dataset / "mine_onnx" / "model.json").read_text())["needs"]
    assert done.returncode == bool(needed), done.stderr  # what the example cannot do, it refuses
    assert all(need in done.stderr for need in needed)


RUN = [
    pytest.param(block, id=block.place)
    for path in PAGES
    for block in blocks(path, "python")
    if not block.text.startswith("# ")
]


@pytest.mark.parametrize("block", RUN)
def test_python_runs(block: Block, first_dataset: Path) -> None:
    exec(compile(block.text, block.place, "exec"), {})


@pytest.fixture(scope="module")
def own_files(place: Path) -> dict[str, Path]:
    """The files that docs/extend.md shows, by name."""
    shown = [*blocks(page("extend"), "python"), *blocks(page("extend"), "yaml")]
    files = {block.text.splitlines()[0].removeprefix("# "): block.text for block in shown}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return {name: place / name for name in files}


def test_what_users_bring_works_as_extend_shows(own_files: dict[str, Path], place: Path) -> None:
    for _, words in commands(page("extend")):
        run(words, place, "stages=[fingerprint,plan,preprocess,train,select]", "postprocessing.fill_holes=false")
    assert (place / "mine.nii.gz").is_file()
    runs = place / "outputs/Demo/runs"
    assert {path.name for path in runs.iterdir()} == {"mine", "own_loss", "focal_and_tversky", "stripes", "narrow"}
    (config,) = runs.glob("narrow/*/*/*/fold_0/config.yaml")
    trained = yaml.safe_load(config.read_text())["run"]["plan"]["configurations"]["3d_fullres"]
    plan = yaml.safe_load((place / "narrow.yaml").read_text())["configurations"]["3d_fullres"]
    assert trained["features_per_stage"] == plan["features_per_stage"]
    assert max(plan["features_per_stage"]) == 64
    (config,) = runs.glob("focal_and_tversky/*/*/*/fold_0/config.yaml")
    loss = yaml.safe_load(config.read_text())["run"]["loss"]
    assert (loss["distribution"], loss["overlap"], loss["class_weights"]) == ("focal", "tversky", {"core": 2.0})


def test_a_new_overlap_is_a_function_in_the_table(own_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    jaccard = runpy.run_path(str(own_files["jaccard.py"]))["jaccard"]
    monkeypatch.setitem(__import__("segfw.nn.loss_terms", fromlist=["OVERLAPS"]).OVERLAPS, "jaccard", jaccard)
    settings: Any = LossSettings(ce_weight=0.0, overlap="jaccard", smooth=0.0)  # type: ignore[arg-type]
    loss = build_loss(settings, LabelSet({"background": 0, "a": 1}), batch_dice=True)
    logits = torch.zeros(1, 2, 4)  # one half everywhere; two of four voxels are of the label: 1 / (2 + 2 - 1)
    assert float(loss(logits, torch.tensor([[[0, 0, 1, 1]]]))) == pytest.approx(-1 / 3)


def test_a_planner_is_an_entry_of_the_table(own_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small = runpy.run_path(str(own_files["small.py"]))["small"]
    for module in ("planners", "planning", "givens"):
        monkeypatch.setitem(__import__(f"segfw.core.planning.{module}", fromlist=["PLANNERS"]).PLANNERS, "small", small)
    dataset, fingerprint = (
        read_dataset_json(GOLDEN / "dataset.json"),
        read_fingerprint(GOLDEN / "dataset_fingerprint.json"),
    )
    plan, half = make_plan(dataset, fingerprint, planner="small"), make_plan(dataset, fingerprint, gpu_memory_gb=4)
    assert plan.planner == "small"
    assert plan.configurations == half.configurations
