"""The raw dataset's content hash follows what the files hold, not where they lie or when they were touched."""

import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.core.settings import TaskSettings
from segfw.io.phantom import make_phantom_dataset
from segfw.stages.raw import find_dataset, scan
from segfw.workspace import Workspace

TASK = TaskSettings(name="Demo", folder="Demo")


def load_or_scan(task, data_root, workspace):
    return scan(find_dataset(task, data_root), workspace)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    make_phantom_dataset(root / "Demo")
    return root


def test_copies_and_touched_files_have_the_same_content(phantom, tmp_path):
    first = load_or_scan(TASK, phantom, Workspace(tmp_path / "out"))
    shutil.copytree(phantom / "Demo", tmp_path / "data" / "Demo")
    copied = load_or_scan(TASK, tmp_path / "data", Workspace(tmp_path / "out"))
    assert copied.content == first.content
    assert copied.files != first.files
    os.utime(tmp_path / "data" / "Demo" / "imagesTr" / "demo_00.nii.gz")
    assert load_or_scan(TASK, tmp_path / "data", Workspace(tmp_path / "out")).content == first.content


def test_unchanged_files_are_not_hashed_again(phantom, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    first = load_or_scan(TASK, phantom, workspace)
    before = workspace.dataset.stat().st_mtime_ns
    monkeypatch.setattr("segfw.stages.raw.sha256", lambda path: pytest.fail(f"hashed {path} again"))
    assert load_or_scan(TASK, phantom, workspace) == first
    assert workspace.dataset.stat().st_mtime_ns == before


def test_one_changed_voxel_changes_the_content(phantom, tmp_path):
    shutil.copytree(phantom / "Demo", tmp_path / "data" / "Demo")
    workspace = Workspace(tmp_path / "out")
    first = load_or_scan(TASK, tmp_path / "data", workspace)
    path = tmp_path / "data" / "Demo" / "labelsTr" / "demo_07.nii.gz"
    label = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(label)
    array.flat[0] = 1
    changed = sitk.GetImageFromArray(np.asarray(array))
    changed.CopyInformation(label)
    sitk.WriteImage(changed, str(path))
    assert load_or_scan(TASK, tmp_path / "data", workspace).content != first.content


def test_the_record_may_be_lost_or_broken(phantom, tmp_path):
    workspace = Workspace(tmp_path)
    first = load_or_scan(TASK, phantom, workspace)
    workspace.dataset.write_text("dataset: [")
    assert load_or_scan(TASK, phantom, workspace) == first


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=str(tmp_path / "Nowhere")):
        load_or_scan(TaskSettings(name="Nowhere", folder="Nowhere"), tmp_path, Workspace(tmp_path / "out"))
