"""The task file: what it states is read back as it was, and it says what may be changed."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segfw import config
from segfw.core.cases.task_file import TaskDraft, consecutive, label_name, task_text
from segfw.core.labels import LabelSet
from segfw.core.settings.verbs import DownloadSettings

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12)


def read(text):
    """Return the task's settings as the program reads them from `text`."""
    node = OmegaConf.merge(config.schema(DownloadSettings), OmegaConf.create(f"task:\n{indented(text)}"))
    return config.load(DownloadSettings, node).task


def indented(text):
    return "".join(f"  {line}\n" for line in text.splitlines())


def draft(**changes):
    return TaskDraft(**{"name": "Mine", "folder": "/d/Mine.csv", "channels": ("CT",), "values": (0, 1), **changes})


def test_a_plain_task():
    text = task_text(draft(modality="CT"))
    assert yaml.safe_load(text) == {
        "name": "Mine",
        "folder": "/d/Mine.csv",
        "modality": "CT",
        "channels": ["CT"],
        "labels": {"background": 0, "label_1": 1},
    }
    assert "regions" not in text
    assert "group_pattern" not in text


def test_labels_that_do_not_count_up_are_renumbered():
    text = task_text(draft(values=(-1, 0, 205, 420)))
    plain = yaml.safe_load(text)
    assert plain["labels"] == {"background": 0, "label_205": 205, "label_420": 420, "label_minus_1": -1}
    assert plain["remap"] == {205: 1, 420: 2, -1: 3}
    assert "# regions: {whole: [205, 420, -1], core: [420, -1], inner: [-1]}" in text


def test_schemes_and_the_pattern_of_patients_are_stated():
    text = task_text(draft(channels=("CT 1", "CT 2"), normalization=("ct", "ct"), group_pattern="^a[0-9]+"))
    assert yaml.safe_load(text)["normalization"] == ["ct", "ct"]
    assert "split.kind=group 'split.group_pattern=^a[0-9]+'" in text


@given(values=st.sets(st.integers(-3, 300), min_size=1))
def test_renumbered_values_are_a_valid_set_of_labels(values):
    remap = consecutive(sorted(values))
    assert set(remap) <= values
    LabelSet({label_name(value): remap.get(value, value) for value in {0, *values}})


@pytest.mark.parametrize(
    "folder", ['/a b/c, d/it\'s "x"/ä: #1/${oc.env:HOME}/\\${x}.csv', "/1e5", "/a\tb\n/x", "/" * 300]
)
def test_every_path_is_read_back_exactly(folder):
    assert read(task_text(draft(folder=folder))).folder == folder


@pytest.mark.parametrize(
    "word", ["1e5", "null", "true", "no", "-", "0000", "=", "T1 (post), x", "ADC'", "~", "2026-01-02", ""]
)
def test_words_stay_words(word):
    assert read(task_text(draft(channels=(word, "T2")))).channels == (word, "T2")


@given(folder=TEXT.filter(lambda text: "???" not in text), channels=st.lists(TEXT, min_size=1, max_size=3))
def test_any_text_is_read_back_exactly(folder, channels):
    task = read(task_text(draft(folder=f"/{folder}", channels=tuple(channels))))
    assert task.folder == f"/{folder}"
    assert task.channels == tuple(channels)
