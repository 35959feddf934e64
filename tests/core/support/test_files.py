"""Files are whole or absent."""

import hashlib
from pathlib import Path

import pytest

from segfw.core.support.files import (
    atomic_path,
    looked_for,
    remove_remains,
    remove_remains_below,
    sha256,
    temporary_beside,
    write_text,
)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "before")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    with atomic_path(tmp_path / "deep" / "case.nii.gz") as temporary:
        assert temporary.name.endswith("case.nii.gz")
        assert temporary.name.startswith(".")
        temporary.write_text("x")
    assert (tmp_path / "deep" / "case.nii.gz").read_text() == "x"


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


def test_so_are_those_anywhere_below_a_folder(tmp_path):
    (tmp_path / "sub" / ".tmp-0123abcd-model").mkdir(parents=True)
    for name in ("sub/.tmp-0123abcd-model/half", "sub/.tmp-89abcdef-metrics.csv", ".tmp-89abcdef-a", "sub/metrics.csv"):
        (tmp_path / name).write_text("x")
    remove_remains_below(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["sub", "sub/metrics.csv"]
    remove_remains_below(tmp_path / "absent")


def test_remains_of_a_killed_command_are_removed(tmp_path):
    for name in (".tmp-0123abcd-[1]", ".tmp-0123abcd-1", "[1]"):
        (tmp_path / name / "sub").mkdir(parents=True)
    (tmp_path / ".tmp-89abcdef-[1]").write_text("half")
    temporary_beside(tmp_path / "[1]").symlink_to(tmp_path / "[1]")
    remove_remains(tmp_path / "[1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-0123abcd-1", "[1]"]
    assert (tmp_path / "[1]" / "sub").is_dir()


def test_a_path_that_is_not_there_is_told_whole_and_that_no_home_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert looked_for(Path("a/b~")) == f"{tmp_path}/a/b~"
    assert looked_for(Path("data/~/scans")).startswith(f"{tmp_path}/data/~/scans (~ is a name like any other")
