"""The list that names repaired copies: called after its dataset, beside the data, and never in another one's place."""

import re
import shlex

import pytest

from segfw.core.errors import DataError
from segfw.core.settings.schema import TaskSettings
from segfw.io.datasets.file_list import write_file_list
from segfw.io.datasets.layouts import read_dataset
from tests.stages.tiny_dataset import label_file, label_of, make, verdict, write

NAME = "repaired_copy_header_Tiny.yaml"


@pytest.fixture
def folder(tmp_path):
    folder = make(tmp_path / "data" / "Tiny")
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    return folder


def csv_of(folder, path, cases=slice(None)):
    listed = read_dataset(TaskSettings(name=folder.name, folder=str(folder)), folder.parent).cases[cases]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file_list(path, listed)
    return {"folder": str(path), "channels": ["CT"], "labels": {"background": 0, "liver": 1, "tumor": 2}}


def test_the_list_of_a_csv_lies_beside_the_copies(folder, tmp_path, caplog):
    path = tmp_path / "configs" / "task" / "mine.csv"
    task = csv_of(folder, path)
    _, message, _, _ = verdict(folder, tmp_path / "out", caplog, fix="copy_header", task=task)
    assert [file.name for file in path.parent.iterdir()] == ["mine.csv"]
    chosen = dict(word.split("=", 1) for word in shlex.split(message) if word.startswith("task."))
    assert chosen == {"task.name": "Tiny", "task.folder": str(folder / NAME)}
    again = {"name": chosen["task.name"], "folder": chosen["task.folder"]}
    status, _, _, report = verdict(folder, tmp_path / "out", caplog, task=again)
    assert (status, report["faults"]) == (0, [])


def test_two_datasets_of_one_folder_have_a_list_each(folder, tmp_path, caplog):
    for name, cases in (("One", slice(0, 2)), ("Two", slice(1, 3))):
        task = csv_of(folder, tmp_path / "lists" / f"{name}.csv", cases)
        verdict(folder, tmp_path / "out", caplog, fix="copy_header", task={**task, "name": name})
    assert sorted(path.name for path in folder.glob("*.yaml")) == [
        "repaired_copy_header_One.yaml",
        "repaired_copy_header_Two.yaml",
    ]


def test_a_folder_with_a_blank_is_quoted(tmp_path, caplog):
    folder = make(tmp_path / "my data" / "Tiny")
    write(label_file(folder, "bob"), label_of("bob"), origin=(1, 0, 0))
    _, message, _, _ = verdict(folder, tmp_path / "out", caplog, fix="copy_header")
    assert message.endswith(f"task.name=Tiny 'task.folder={folder / NAME}'")


def test_the_list_is_written_again(folder, tmp_path, caplog):
    for case in ("bob", "ann"):
        write(label_file(folder, case), label_of(case), origin=(1, 0, 0))
        verdict(folder, tmp_path / "out", caplog, fix="copy_header")
        assert f"labelsTr_copy_header/{case}.nii.gz" in (folder / NAME).read_text()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("  bob:", "  zoe:", "it lists other cases, such as zoe"),
        ("labelsTr_copy_header/bob", "others/bob", "its case bob has other files, such as .*others/bob.nii.gz"),
        ("cases:", "caste:", "it is no list that was written here"),
    ],
)
def test_a_list_of_other_cases_is_not_replaced(folder, tmp_path, caplog, old, new, reason):
    verdict(folder, tmp_path / "out", caplog, fix="copy_header")
    path = folder / NAME
    changed = path.read_text().replace(old, new)
    path.write_text(changed)
    status, message, _, _ = verdict(folder, tmp_path / "out", caplog, fix="copy_header")
    assert status == DataError.exit_status
    assert re.search(rf"does not replace .*{NAME}: {reason}.*; delete it or move it away", message)
    assert path.read_text() == changed
