"""The made-up dataset: the same every time, ordinary to read, and with structures that can be told apart."""

import hashlib

import numpy as np
import pytest

from segfw.core.settings.schema import TaskSettings
from segfw.io.datasets import phantom
from segfw.io.datasets.layouts import read_dataset
from segfw.io.formats.readers import read_image, read_label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "Demo"
    phantom.make_phantom_dataset(folder)
    return folder


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_same_bits_every_time(folder, tmp_path):
    phantom.make_phantom_dataset(tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_it_is_an_ordinary_dataset(folder):
    dataset = read_dataset(TaskSettings(name="Demo"), folder.parent)
    assert len(dataset.cases) == dataset.num_training == 20
    assert [name for name, _ in dataset.labels.foreground] == ["left_organ", "right_organ", "core"]
    directions, spacings = set(), set()
    for case in dataset.cases:
        image, label = read_image(case.images), read_label(case.label)
        assert image.geometry == label.geometry
        assert all(32 <= n <= 48 for n in image.shape)
        assert set(np.unique(label.array)) == {0, 1, 2, 3}
        directions.add(np.rint(image.geometry.direction).astype(int).tobytes())
        spacings.add(image.spacing)
    assert len(spacings) == 20
    assert len(directions) > 10


def test_structures_differ_in_brightness_in_every_case(folder):
    """Left and right must be told apart in mirrored patches, where the place says nothing."""
    for case in read_dataset(TaskSettings(name="Demo"), folder.parent).cases:
        image, label = read_image(case.images).array, read_label(case.label).array
        right, left, core = (float(np.median(image[label == value])) for value in (2, 1, 3))
        assert right * 1.8 < left < core / 1.2
        assert all((label == value).sum() > 150 for value in (1, 2, 3))


def test_left_is_left_in_the_patient(folder):
    """x grows to the patient's left in ITK's frame: the centers tell, whatever the order of the file's axes."""
    for case in read_dataset(TaskSettings(name="Demo"), folder.parent).cases:
        label = read_label(case.label)
        step = np.array(label.geometry.direction) * np.array(label.spacing)[:, np.newaxis]
        left, right = (np.argwhere(label.array[0] == value).mean(0) @ step for value in (1, 2))
        assert left[0] > right[0] + 15


def test_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "Demo").mkdir()
    phantom.make_phantom_dataset(tmp_path / "Demo")
    assert not list((tmp_path / "Demo").iterdir())


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def fail(names):
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "NUM_CASES", 1)
    monkeypatch.setattr(phantom, "_description", fail)
    with pytest.raises(KeyboardInterrupt):
        phantom.make_phantom_dataset(tmp_path / "Demo")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_command_has_begun_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(phantom, "NUM_CASES", 1)
    (tmp_path / ".tmp-0123abcd-Demo" / "imagesTr").mkdir(parents=True)
    phantom.make_phantom_dataset(tmp_path / "Demo")
    assert [path.name for path in tmp_path.iterdir()] == ["Demo"]
    assert (tmp_path / "Demo" / "dataset.json").is_file()
