"""Files that come from addresses into the cache, in fsspec's file system in memory with faults put in."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from segfw.core.cases.dataset import Case
from segfw.core.errors import DataError, JobError, WriteError
from segfw.core.support.addresses import mirror_path
from segfw.io.remote import arrival, system
from segfw.io.remote.arrival import arrive, full_address, mirrored, mirrored_cases
from segfw.io.remote.system import Denied, NotThere, Unreachable

ADDRESS = "memory://bucket/scan.nii.gz"


@pytest.fixture(autouse=True)
def store(monkeypatch):
    """An empty store, whose server is asked again at once."""
    monkeypatch.setattr(system, "PAUSE", 0.0)
    monkeypatch.setattr(arrival, "_silent", {})
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pipe("/bucket/scan.nii.gz", b"first")
    yield found
    found.store.clear()


@pytest.fixture
def path(tmp_path):
    return mirror_path(ADDRESS, str(tmp_path))


def gets(monkeypatch, answer):
    """Let `answer(number, path, target)` take the place of the store's answers, and count them."""
    asked = []
    original = MemoryFileSystem.get_file

    def get_file(self, rpath, lpath, **_):
        asked.append(rpath)
        return answer(len(asked), lambda: original(self, rpath, lpath), Path(lpath))

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    return asked


def whole(_number, get, _target):
    get()


def test_a_file_comes_once_and_again_when_it_has_changed(path, store, monkeypatch):
    asked = gets(monkeypatch, whole)
    for _ in range(2):
        arrive(path)
        assert path.read_bytes() == b"first"
    assert len(asked) == 1
    store.pipe("/bucket/scan.nii.gz", b"other")  # of the same size
    arrive(path)
    assert (path.read_bytes(), len(asked)) == (b"other", 2)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"fir"), lambda path: path.unlink(), os.utime])
def test_a_file_that_is_not_the_one_that_came_is_fetched_again(path, damage):
    arrive(path)
    damage(path)
    arrive(path)
    assert path.read_bytes() == b"first"


def test_a_file_gone_from_the_server_is_gone_here(path, store):
    arrive(path)
    store.rm("/bucket/scan.nii.gz")
    with pytest.raises(NotThere, match=ADDRESS):
        arrive(path)
    assert not path.exists()


def test_a_connection_cut_short_is_tried_again(path, monkeypatch):
    def cut(number, get, target):
        if number == 1:
            target.write_bytes(b"fi")
            raise ConnectionResetError("reset by peer")
        if number == 2:
            target.write_bytes(b"firs")
            return
        get()

    asked = gets(monkeypatch, cut)
    arrive(path)
    assert (path.read_bytes(), len(asked)) == (b"first", 3)


def test_what_stays_short_is_told_and_leaves_no_part(path, tmp_path, monkeypatch):
    gets(monkeypatch, lambda _number, _get, target: target.write_bytes(b"fi"))
    with pytest.raises(Unreachable, match=rf"{ADDRESS}: 2 bytes came, 5 were stated \(4 attempts\)"):
        arrive(path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_full_disk_is_told_at_once(path, tmp_path, monkeypatch):
    def full(_number, _get, target):
        target.write_bytes(b"fi")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    asked = gets(monkeypatch, full)
    with pytest.raises(WriteError, match=r"memory:/bucket/scan.nii.gz: No space left"):
        arrive(path)
    assert len(asked) == 1
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    usage = namedtuple("usage", "total used free")(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(JobError, match=f"{ADDRESS} needs .* data_cache=FOLDER"):
        arrive(path)


class NoCredentialsError(Exception):
    """As botocore calls it."""


@pytest.mark.parametrize("error", [PermissionError("Forbidden"), NoCredentialsError("Unable to locate credentials")])
def test_missing_credentials_are_told_at_once(path, error, monkeypatch):
    def deny(*_):
        raise error

    asked = gets(monkeypatch, deny)
    with pytest.raises(Denied, match=f"{ADDRESS} may not be read: {error}; credentials"):
        arrive(path)
    assert len(asked) == 1


def test_without_the_server_a_whole_file_is_taken_with_a_warning(path, monkeypatch, caplog):
    arrive(path)
    asked = []

    def gone(*args, **_options):
        asked.append(args)
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(MemoryFileSystem, "info", gone)
    arrive(path)
    assert "the file of before is taken" in caplog.text
    assert len(asked) == system.ATTEMPTS
    arrive(path)
    assert len(asked) == system.ATTEMPTS  # a server that is away is not asked for every file
    path.write_bytes(b"half")
    with pytest.raises(Unreachable, match=f"{ADDRESS} is not asked for: .*nobody listens"):
        arrive(path)
    assert len(asked) == system.ATTEMPTS  # nor for any that is not in the cache


def test_a_file_that_did_not_come_from_the_server_is_left_alone(path, store):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    store.store.clear()
    with pytest.raises(NotThere):
        arrive(path)
    assert path.read_bytes() == b"mine"


def test_a_folder_is_what_the_server_has(tmp_path, store):
    for number in range(3):
        store.pipe(f"/bucket/series/{number}.dcm", b"slice%d" % number)
    folder = mirror_path("memory://bucket/series", str(tmp_path))
    arrive(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["0.dcm", "1.dcm", "2.dcm"]
    store.rm("/bucket/series/1.dcm")
    store.pipe("/bucket/series/2.dcm", b"anew")
    arrive(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"0.dcm": b"slice0", "2.dcm": b"anew"}


def test_the_file_that_states_a_tiffs_spacing_comes_along(tmp_path, store):
    store.pipe("/bucket/a_0000.tif", b"tiff")
    store.pipe("/bucket/a.json", b"{}")
    path = mirror_path("memory://bucket/a_0000.tif", str(tmp_path))
    arrive(path)
    assert (path.with_name("a.json").read_bytes(), path.read_bytes()) == (b"{}", b"tiff")


@pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.mhd", "a.nhdr"])
def test_images_in_two_files_are_refused(tmp_path, name):
    with pytest.raises(DataError, match=rf"memory://bucket/{name}: images in two files"):
        arrive(mirror_path(f"memory://bucket/{name}", str(tmp_path)))


@pytest.mark.parametrize(("times", "fine"), [(1, False), (2, True)])
def test_an_md5_that_differs_counts_unless_the_same_comes_twice(path, monkeypatch, times, fine):
    """A tag that no content has: damage, or no MD5 where what comes agrees."""
    state = system.RemoteState(5, "tag", "0" * 32)
    contents = [b"first"] * times + [b"fur%02d" % number for number in range(4)]
    gets(monkeypatch, lambda number, _get, target: target.write_bytes(contents[number - 1]))
    path.parent.mkdir(parents=True)
    if fine:
        system.fetch(ADDRESS, state, path)
        assert path.read_bytes() == b"first"
    else:
        with pytest.raises(Unreachable, match=r"its MD5 is .*, 0{32} was stated"):
            system.fetch(ADDRESS, state, path)


def test_a_signature_is_kept_for_the_user_alone(tmp_path):
    signed = "https://me:pass@host/a.nii.gz?Signature=abc"
    (case,) = mirrored_cases([Case("a", (signed,), "/data/a.nii.gz", {"patient": "p"})], str(tmp_path))
    assert case == Case("a", (f"{tmp_path}/segfw-addresses/https:/host/a.nii.gz",), "/data/a.nii.gz", {"patient": "p"})
    assert full_address(Path(case.images[0])) == signed
    (kept,) = (tmp_path / ".addresses").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    mirrored(["https://host/a.nii.gz"], str(tmp_path))
    assert full_address(Path(case.images[0])) == "https://host/a.nii.gz"


def test_two_files_of_one_path_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"https://host/get is listed with two queries"):
        mirrored(["https://host/get?id=1", "https://host/get?id=2"], str(tmp_path))


@pytest.mark.parametrize(("scheme", "message"), [("s4", "not by s4://"), ("s3", r"segfw\[cloud\]")])
def test_a_file_system_that_is_not_there_is_told(tmp_path, monkeypatch, scheme, message):
    def absent(name, **_):
        raise ImportError("Install s3fs to access S3") if name == "s3" else ValueError(f"Protocol not known: {name}")

    monkeypatch.setattr(fsspec, "filesystem", absent)
    with pytest.raises(Exception, match=message):
        arrive(mirror_path(f"{scheme}://bucket/a.nii.gz", str(tmp_path)))
