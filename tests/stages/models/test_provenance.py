"""A packaged model tells what it was made of, and no name of a case, folder, user or host."""

import dataclasses
import getpass
import math
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from segfw.core.errors import DataError, UsageError
from segfw.core.labels import LabelSet
from segfw.core.scoring.selection import Score
from segfw.core.settings.schema import STAGES, ExperimentSettings, NetworkSettings, TaskSettings
from segfw.core.settings.training import LossSettings, PretrainedSettings, SamplingSettings
from segfw.inference.bundle import load_bundle
from segfw.inference.provenance import check_texts
from segfw.stages import pipeline
from segfw.stages.job import prepare
from segfw.stages.models.packaging import package, shared_mirror_axes
from segfw.stages.models.provenance import make_provenance
from segfw.stages.trainings import train
from segfw.stages.trainings.runs import Done, FinishedFold
from segfw.training.fit import fit_fold
from segfw.training.validation import FoldIO
from tests.stages.tiny_dataset import SHAPE, write
from tests.training.conftest import CPU, make_case, make_run, no_drawing, store  # noqa: F401

CASES = ("lee_1959", "kim_1960", "roy_1961")
DESCRIPTION = """{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "core": 1, "shell": 2}, "numTraining": 3,
"file_ending": ".nii.gz", "licence": "CC-BY 4.0", "reference": "a paper"}"""


@pytest.fixture
def job(tmp_path):
    data = tmp_path / "secretplace"
    (data / "Mine").mkdir(parents=True)
    (data / "Mine/dataset.json").write_text(DESCRIPTION)
    for name in CASES:
        write(data / f"Mine/imagesTr/{name}_0000.nii.gz", torch.rand(SHAPE).numpy())
        write(data / f"Mine/labelsTr/{name}.nii.gz", torch.ones(SHAPE, dtype=torch.uint8).numpy())
    settings = ExperimentSettings(
        task=TaskSettings(name="Mine", folder="Mine", modality="T1"),
        data_root=str(data),
        output_root=str(tmp_path / "elsewhere"),
        folds=(0,),
    )
    settings = dataclasses.replace(settings, split=dataclasses.replace(settings.split, num_folds=3))
    return prepare(settings)


@pytest.fixture
def member(make_run, tmp_path):  # noqa: F811
    """A finished fold, trained for a second, that began with weights at a telling place."""
    folder = tmp_path / "elsewhere/Mine/runs/main/default/planned/3d_fullres/fold_0"
    nothing = FoldIO(lambda case: make_case(case)[1], lambda case, array, path: None)
    run = dataclasses.replace(make_run(max_epochs=1), train_cases=("a", "b"), val_cases=("c",))
    fit_fold(run, folder, CPU, nothing)
    pretrained = PretrainedSettings(path=str(tmp_path / "secretplace/before.pth"))
    loss = LossSettings(
        _target_="mine.MyLoss",
        arguments={"prior": str(tmp_path / "secretplace/prior.npy"), "gamma": 2, "of": {CASES[0]: 1, "b": CASES[1]}},
    )
    run = dataclasses.replace(
        run,
        pretrained=pretrained,
        pretrained_sha256="f" * 64,
        train_cases=CASES[:2],
        loss=loss,
        augmentation=dataclasses.replace(run.augmentation, name=f"on {socket.gethostname()}"),
        sampling=SamplingSettings(case_weights={CASES[0]: 2.0, CASES[1]: 0.5}),
    )
    return FinishedFold(folder, run, Done(1, 1, "", "", None, None, {}), None)


def test_a_model_is_mirrored_along_axes_that_all_its_members_know(member):
    auto = dataclasses.replace(member.run.augmentation, mirror_axes="auto")
    found = [dataclasses.replace(member.run, augmentation=auto, mirror_axes=axes) for axes in ((0, 1), (1, 2))]
    members = [dataclasses.replace(member, run=run) for run in found]
    assert shared_mirror_axes(members[:1]) == (0, 1)
    assert shared_mirror_axes(members) == (1,)


def test_no_byte_of_a_model_names_a_case_a_place_a_user_or_a_host(job, member, tmp_path):
    package(job, [member], ("3d_fullres",), None)
    folder = job.workspace.model("main")
    words = {
        *CASES,
        "secretplace",
        "elsewhere",
        str(tmp_path),
        str(Path.home()),
        socket.gethostname(),
        getpass.getuser(),
    }
    words = {word for word in words if len(word) > 3}  # shorter ones occur by chance
    assert sorted(path.suffix for path in folder.iterdir()) == [".md", ".safetensors", ".yaml"]
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".safetensors":
            content = content[: 8 + int.from_bytes(content[:8], "little")]
        assert [word for word in words if word.encode() in content] == [], path.name
    said = load_bundle(folder).provenance
    assert said.dataset == job.record.content
    assert said.settings["pretrained_sha256"] == "f" * 64
    assert "pretrained" not in said.settings
    assert said.settings["optimizer"]["lr"] == 0.01
    assert said.settings["sampling"]["case_weights"] == 2
    assert said.settings["loss"]["arguments"] == {"prior": "(hidden)", "gamma": 2, "of": {"b": "(hidden)"}}
    assert {"segfw", "python", "torch", "numpy"} <= set(said.versions)
    assert (said.data.num_cases, said.data.modality, said.data.licence) == (3, "T1", "CC-BY 4.0")
    assert "- Licence: CC-BY 4.0\n" in (folder / "README.md").read_text()


def test_scores_are_those_of_cross_validation_without_nan(job, member):
    score = Score("winner", ("3d_fullres",), (0, 1), 7, 0.75, {"core": 0.75, "shell": math.nan}, 0.75)
    said = make_provenance(job, [member], score, {"winner": "x"})
    assert said.scores == {"dice": 0.75, "dice/core": 0.75}
    assert said.num_scored == 7
    assert said.made_from == {"winner": "x"}


def test_a_file_of_this_folder_is_a_place_too(job, member, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prior.npy").touch()
    loss = LossSettings(_target_="mine.MyLoss", arguments={"priors": ["prior.npy"], "kind": "soft"})
    own = dataclasses.replace(member, run=dataclasses.replace(member.run, loss=loss))
    arguments = make_provenance(job, [own], None, {}).settings["loss"]["arguments"]
    assert arguments == {"priors": "(hidden)", "kind": "soft"}


def test_a_model_names_the_commit_of_the_checkout_it_was_made_in(job, member):
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("not a checkout that git reads")
    assert make_provenance(job, [member], None, {}).code.removesuffix("-dirty") == asked.stdout.strip()


@pytest.mark.parametrize("key", ["licence", "reference", "name"])
def test_a_path_in_the_description_is_refused_before_any_work_and_at_packaging(job, member, key, monkeypatch):
    dataset = dataclasses.replace(job.dataset, **{key: "see /home/lee/x"})
    job = dataclasses.replace(job, record=dataclasses.replace(job.record, dataset=dataset))
    message = f"dataset's {key} holds a path of this machine"
    monkeypatch.setattr(pipeline, "prepare", lambda settings, make: job)
    with pytest.raises(DataError, match=message):
        pipeline.run(dataclasses.replace(job.settings, stages=STAGES))
    with pytest.raises(DataError, match=message):
        make_provenance(job, [member], None, {})


@pytest.mark.parametrize("changed", ["channel", "label"])
def test_a_path_as_a_name_is_refused_too(job, changed):
    labels = LabelSet({"background": 0, "/a/b/c": 1})
    names = {"channel": {"channel_names": ("/home/lee/T1",)}, "label": {"labels": labels}}
    dataset = dataclasses.replace(job.dataset, **names[changed])
    with pytest.raises(DataError, match=f"dataset's {changed} holds a path of this machine"):
        check_texts(dataset)


def test_a_network_whose_arguments_name_a_place_is_refused_before_training_and_at_packaging(job, member):
    network = NetworkSettings("mine", "tests.nn.own.MyNet", {"weights": "/home/lee/w.pt"})
    with pytest.raises(UsageError, match=r"network\.arguments\.weights=/home/lee/w\.pt names a place"):
        train.check(dataclasses.replace(job.settings, network=network))
    own = dataclasses.replace(member, run=dataclasses.replace(member.run, network=network))
    with pytest.raises(UsageError, match="names a place on this machine"):
        make_provenance(job, [own], None, {})
