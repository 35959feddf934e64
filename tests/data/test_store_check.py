"""Only files that are not as they were noted are read; what changed since is named."""

import os
import shutil
from pathlib import Path

import pytest

from segfw.data import store_check
from segfw.data.case_files import commit_store, save_case, saved_cases
from segfw.data.store_check import ABSENT, Wanted, find_lacking, note_saved
from tests.data.conftest import make_case

WANTED = {name: Wanted({"raw files": name}, labeled=True) for name in "ab"}


def notes_of(folder: Path) -> Path:
    return folder.with_name("notes.json")


def overwrite(path: Path) -> None:
    """Change the last byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of two cases, just made."""
    folder = tmp_path / "store"
    for name, want in WANTED.items():
        save_case(folder, name, make_case((5, 8, 8)), want.made_from)
    note_saved(folder, saved_cases(folder), notes_of(folder))
    commit_store(folder, {})
    return folder


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the members that are read."""
    read: list[str] = []
    original = store_check.sha256

    def note(path: Path) -> str:
        if path.suffix == ".npy":
            read.append(path.name)
        return original(path)

    monkeypatch.setattr(store_check, "sha256", note)
    return read


def test_an_untouched_store_is_not_read(folder: Path, hashed: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert find_lacking(folder, WANTED, notes_of(folder)) == {}
    assert hashed == []
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_what_was_touched_is_read_once(folder: Path, hashed: list[str]) -> None:
    os.utime(folder / "b.label.npy")
    assert find_lacking(folder, WANTED, notes_of(folder)) == {}
    assert find_lacking(folder, WANTED, notes_of(folder)) == {}
    assert hashed == ["b.label.npy"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 1, "files": {"a.image.npy": 5}}'])
def test_without_a_note_all_is_read_once(folder: Path, hashed: list[str], damage: str) -> None:
    notes_of(folder).write_text(damage)
    assert find_lacking(folder, WANTED, notes_of(folder)) == {}
    assert find_lacking(folder, WANTED, notes_of(folder)) == {}
    assert len(hashed) == 6


def test_a_copy_that_keeps_times_is_read_once(folder: Path, hashed: list[str]) -> None:
    copy = shutil.copytree(folder, folder.with_name("copy"))  # keeps modification times
    assert find_lacking(copy, WANTED, notes_of(folder)) == {}
    assert find_lacking(copy, WANTED, notes_of(folder)) == {}
    assert len(hashed) == 6


def test_damage_stays_named_until_the_case_is_made_again(folder: Path, hashed: list[str]) -> None:
    overwrite(folder / "a.image.npy")
    for _ in range(2):
        assert list(find_lacking(folder, WANTED, notes_of(folder))) == ["a"]
    save_case(folder, "a", make_case((5, 8, 8)), WANTED["a"].made_from)
    note_saved(folder, "ab", notes_of(folder))
    hashed.clear()
    assert find_lacking(folder, WANTED, notes_of(folder)) == {}
    assert hashed == []


def test_a_change_before_the_commit_is_not_noted_as_whole(folder: Path) -> None:
    overwrite(folder / "a.image.npy")
    note_saved(folder, "ab", notes_of(folder))
    assert "SHA-256" in find_lacking(folder, WANTED, notes_of(folder))["a"]


def test_reasons(folder: Path) -> None:
    wanted = {
        "a": Wanted({"raw files": "other", "algorithm": "2"}, labeled=True),
        "b": Wanted({"raw files": "b"}, labeled=False),
        "c": Wanted({}, labeled=True),
    }
    assert find_lacking(folder, wanted, notes_of(folder)) == {
        "a": "algorithm, raw files changed since",
        "b": "b.record.json has a label map",
        "c": ABSENT,
    }
    save_case(folder, "a", make_case((5, 8, 8)))
    assert find_lacking(folder, wanted, notes_of(folder))["a"] == "its record does not say what it was made from"


def test_a_record_that_the_manifest_does_not_know(folder: Path) -> None:
    path = folder / "a.record.json"
    path.write_text(path.read_text() + " ")
    assert find_lacking(folder, WANTED, notes_of(folder)) == {
        "a": "a.record.json is not the one that manifest.json lists"
    }
