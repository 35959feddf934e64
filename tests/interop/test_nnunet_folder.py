"""Trained models of nnU-Net are found in folders and zips, and the configuration, folds and checkpoint are chosen."""

import shutil

import pytest
import torch

from segfw.core.errors import ArtefactError, UsageError
from tests.interop.nnunet_files import assert_weights, checkpoint, read, write_model, zipped


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_a_model_is_found_below_the_source(tmp_path, depth, packed):
    inner = write_model(tmp_path / "root" / "nnUNet_results" / "Dataset900_Tiny")
    source = (inner, *inner.parents)[depth]
    if packed:
        source = zipped(source, tmp_path / "export.zip")
    assert_weights(read(source).bundle.members[0], 0)


def test_a_configuration_is_chosen_among_several(tmp_path):
    root = tmp_path / "Dataset900_Tiny"
    write_model(root)
    write_model(root, "2d")
    write_model(root, trainer="nnUNetTrainer_5epochs")
    (root / "ensembles" / "ensemble___a___b").mkdir(parents=True)
    (root / "ensembles" / "ensemble___a___b" / "plans.json").write_text("{}")
    with pytest.raises(
        UsageError, match=r"several trained models, .*'nnUNetTrainer__nnUNetPlans__2d', .*configuration=NAME"
    ):
        read(tmp_path)
    with pytest.raises(UsageError, match="source holds several models '3d_fullres'"):
        read(tmp_path, "3d_fullres")
    with pytest.raises(UsageError, match="source holds no model '3d_lowres'; it has"):
        read(zipped(tmp_path, tmp_path / "all.zip"), "3d_lowres")
    assert [m.configuration for m in read(tmp_path, "2d").bundle.members] == ["2d"]
    chosen = read(tmp_path, "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres")
    assert chosen.bundle.provenance.settings["trainer"] == "nnUNetTrainer_5epochs"
    assert "trained by nnUNetTrainer_5epochs, whose weights fit" in chosen.notes[0]


def test_the_fold_of_all_cases_is_taken_alone_or_on_request(tmp_path):
    folder = write_model(tmp_path, folds=(1, "all"))
    imported = read(folder)
    assert [m.fold for m in imported.bundle.members] == [1]
    assert "fold_all is left out, as in nnU-Net's own prediction; folds=full" in imported.notes[0]
    assert [m.fold for m in read(folder, folds=("full", 1)).bundle.members] == ["full", 1]
    shutil.rmtree(folder / "fold_1")
    assert [m.fold for m in read(folder).bundle.members] == ["full"]
    with pytest.raises(ArtefactError, match=r"no checkpoint_final\.pth of the folds \[2\]; it has those of \['full'\]"):
        read(folder, folds=(2,))


def test_a_folder_that_is_no_folds_is_called_so(tmp_path):
    folder = write_model(tmp_path, folds=(0,))
    shutil.copytree(folder / "fold_0", folder / "fold_copy")
    assert read(folder).notes == ("fold_copy is left out: folds are called fold_ and a number, or fold_all",)


def test_another_checkpoint_is_taken_on_request(tmp_path):
    folder = write_model(tmp_path, folds=(0, 1), name="best")
    with pytest.raises(ArtefactError, match=r"no fold_\*/checkpoint_final\.pth; there are \['checkpoint_best\.pth'\]"):
        read(folder)
    torch.save(checkpoint(), folder / "fold_0" / "checkpoint_final.pth")
    imported = read(folder)
    assert [m.fold for m in imported.bundle.members] == [0]
    assert imported.notes == ("fold_1 has no checkpoint_final.pth and is left out",)
    assert len(read(folder, checkpoint="best").bundle.members) == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.yaml"], "it is a model of segfw, which predict takes as it is"),
        (["main/model.yaml"], "it is a model of segfw"),
        (["3d_fullres/x__y/fold_0/model_best.model.pkl"], "it is of nnU-Net v1"),
        (["a/plans.json"], r"there is no folder with plans\.json, dataset\.json and fold_\*/checkpoint_\*\.pth"),
        (["readme.txt"], "there is no folder with"),
    ],
)
def test_sources_of_another_kind_are_recognized(tmp_path, names, message):
    for name in names:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    for source in (tmp_path / "source", zipped(tmp_path / "source", tmp_path / "source.zip")):
        with pytest.raises(ArtefactError, match=f"holds no trained model of nnU-Net v2: {message}"):
            read(source)
