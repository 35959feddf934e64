"""The raw dataset's content hash follows what the files hold, not where they lie or when they were touched."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from segfw.core.errors import DataError
from segfw.core.settings.schema import ExecutorSettings, TaskSettings
from segfw.io.datasets.phantom import make_phantom_dataset
from segfw.stages.dataset.raw import find_dataset, scan
from segfw.stages.fingerprint import make_fingerprint
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
    monkeypatch.setattr("segfw.stages.dataset.raw.sha256", lambda path: pytest.fail(f"hashed {path} again"))
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


def test_renumbering_changes_the_content_and_normalization_does_not(phantom, tmp_path):
    workspace = Workspace(tmp_path)
    first = load_or_scan(TASK, phantom, workspace)
    swapped = dataclasses.replace(TASK, remap={"2": 3, "3": 2})
    assert load_or_scan(swapped, phantom, workspace).content != first.content
    ct = dataclasses.replace(TASK, normalization=("ct",), window="lung")
    assert load_or_scan(ct, phantom, workspace).content == first.content


def test_files_are_read_as_remap_says(phantom, tmp_path, monkeypatch):
    monkeypatch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 20_000)
    labels = {"background": 1, "core": 3, "rest": 0}
    task = dataclasses.replace(TASK, labels=labels, remap={"1": 0, "2": 0, "3": 1, "0": 2})
    dataset = load_or_scan(task, phantom, Workspace(tmp_path)).dataset
    dataset = dataclasses.replace(dataset, cases=dataset.cases[:2])
    assert dataset.labels.values == {"background": 0, "core": 1, "rest": 2}
    assert len(make_fingerprint(dataset, ExecutorSettings(workers=0), tmp_path).cases) == 2
    with pytest.raises(DataError, match=r"demo_00 +error +label-values"):
        make_fingerprint(dataclasses.replace(dataset, remap={}), ExecutorSettings(workers=0), tmp_path)


def test_a_folder_of_slices_is_hashed_as_one_file(phantom, tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    for number in range(3):
        (series / f"slice{number}").write_bytes(bytes([number]) * 9)
    label = phantom / "Demo/labelsTr/demo_00.nii.gz"
    (tmp_path / "files.csv").write_text(f"case,image,label\na,series,{label}\n")
    task = TaskSettings(name="Toy", folder="files.csv", modality="CT", labels={"background": 0, "x": 1})
    first = load_or_scan(task, tmp_path, Workspace(tmp_path / "out"))
    assert first.files[str(series)].size == 27
    shutil.copytree(series, tmp_path / "copied")
    (tmp_path / "files.csv").write_text(f"case,image,label\na,copied,{label}\n")
    assert load_or_scan(task, tmp_path, Workspace(tmp_path / "out")).content == first.content
    (tmp_path / "copied/slice1").write_bytes(bytes([7]) * 9)
    assert load_or_scan(task, tmp_path, Workspace(tmp_path / "out")).content != first.content
