"""Whole downloads against a server on this machine: folders that appear, checksums, second commands, addresses."""

import hashlib
import os
import socket
import threading
import time

import pytest

from segfw.core.errors import ArtefactError, DataError, JobError, UsageError
from segfw.core.settings.schema import TaskSettings
from segfw.core.support.locks import hold
from segfw.io.fetching import download
from segfw.io.fetching.download import download_task
from tests.io.fetching.archive_site import archive, drop, give, ignore, refuse


def task(site, content=None):
    md5 = hashlib.md5(content).hexdigest() if content is not None else None
    return TaskSettings(name="Toy", folder="Toy", url=site if isinstance(site, str) else site.url, md5=md5)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_archive_becomes_a_folder(serve, tmp_path):
    content = archive()
    site, seen = serve(content), []
    folder = download_task(task(site, content), tmp_path / "data", lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "data/Toy"
    assert (folder / "imagesTr/a.nii.gz").read_bytes() == b"x" * 50000
    assert not (folder / "imagesTr/._a.nii.gz").exists()
    assert names(folder.parent) == ["Toy"]
    assert (seen[0], seen[-1]) == ((0, len(content)), (len(content), len(content)))
    download_task(task(site, content), tmp_path / "data", ignore)
    assert len(site.asked) == 1


@pytest.mark.parametrize("md5", ["given", "not given"])
def test_wrong_content_from_one_connection_is_refused_and_removed(serve, tmp_path, md5):
    content = archive()
    if md5 == "given":
        site, message = serve(content), f"has the MD5 {hashlib.md5(content).hexdigest()}, task.md5 is .*was removed"
    else:
        site, message = serve(content[:30000]), "the archive is not whole.*was removed"
    with pytest.raises(DataError, match=message):
        download_task(task(site, b"another" if md5 == "given" else None), tmp_path, ignore)
    assert names(tmp_path) == []
    assert len(site.asked) == 1


def test_wrong_content_from_several_connections_is_fetched_once_more(serve, tmp_path, caplog):
    content = archive()
    damaged = content[:20000] + b"?" + content[20001:]

    def heal(handler, start):
        handler.server.content = content
        give(handler, start)

    site = serve(damaged, answers=[drop, heal])
    download_task(task(site, content), tmp_path, ignore)
    assert names(tmp_path) == ["Toy"]
    assert site.asked == [None, f"bytes={len(content) // 2}-", None]
    assert "fetched in several pieces, fetching it once more from the beginning" in caplog.text


def test_wrong_content_from_several_connections_twice(serve, tmp_path):
    site = serve(archive(), answers=[drop, give, drop, give])
    with pytest.raises(DataError, match="has the MD5"):
        download_task(task(site, b"another"), tmp_path, ignore)
    assert names(tmp_path) == []
    assert len(site.asked) == 4


def test_hostile_archive_is_removed(serve, tmp_path):
    site = serve(archive({"../outside": b""}))
    with pytest.raises(DataError, match=rf"{site.url}: the archive holds a path that leads upward.*was removed"):
        download_task(task(site), tmp_path / "data", ignore)
    assert names(tmp_path / "data") == []
    assert names(tmp_path) == ["data"]


def test_web_page_is_called_one_even_with_a_checksum(serve, tmp_path):
    with pytest.raises(DataError, match="a web page instead of an archive: 'Sorry'"):
        download_task(task(serve(b"<html><title>Sorry</title>"), b"another"), tmp_path, ignore)


def test_what_was_fetched_survives_failure_and_disk_without_room(serve, tmp_path, monkeypatch):
    content = archive()
    site = serve(content, answers=[drop, *[refuse(503)] * 6])
    with pytest.raises(JobError, match=r"503.*goes on from there"):
        download_task(task(site, content), tmp_path, ignore)
    assert names(tmp_path) == ["Toy.part", "Toy.part.json"]
    with monkeypatch.context() as patch:
        site.answers.clear()
        patch.setattr(download, "unpack", lambda *arguments: (_ for _ in ()).throw(JobError("cannot write: full")))
        with pytest.raises(JobError, match="full"):
            download_task(task(site, content), tmp_path, ignore)
    assert names(tmp_path) == ["Toy.part", "Toy.part.json"]
    asked = len(site.asked)
    download_task(task(site, content), tmp_path, ignore)
    assert names(tmp_path) == ["Toy"]
    assert len(site.asked) == asked  # all was there


def test_another_address_drops_what_was_fetched(serve, tmp_path):
    other, site = serve(b"?" * 102400, answers=[drop, refuse(404)]), serve(archive())
    with pytest.raises(JobError):
        download_task(task(other), tmp_path, ignore)
    assert "Toy.part" in names(tmp_path)
    download_task(task(site), tmp_path, ignore)
    assert site.asked == [None]


def test_remains_of_a_killed_unpacking(serve, tmp_path):
    (tmp_path / ".tmp-0123abcd-Toy/imagesTr").mkdir(parents=True)
    download_task(task(serve(archive())), tmp_path, ignore)
    assert names(tmp_path) == ["Toy"]


def test_two_at_once_fetch_once(serve, tmp_path):
    def slow(handler, start):
        time.sleep(0.3)
        give(handler, start)

    site = serve(archive(), answers=[slow])
    folders = []
    threads = [
        threading.Thread(target=lambda: folders.append(download_task(task(site), tmp_path, ignore))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [tmp_path / "Toy"] * 2
    assert site.asked == [None]


def test_a_command_that_slept_too_long_stops(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WATCH", -1.0)

    def steal(handler, start):
        path = tmp_path / ".Toy.lock"
        path.write_text(f'{{"token": "other", "pid": 1, "host": "{socket.gethostname()}"}}')
        give(handler, start)

    with pytest.raises(ArtefactError, match=r"lost the lock .*\.Toy\.lock"):
        download_task(task(serve(archive(), answers=[steal])), tmp_path, ignore)
    assert (tmp_path / "Toy.part").stat().st_size == 0
    assert not (tmp_path / "Toy").exists()


def test_lock_is_given_back(serve, tmp_path):
    with pytest.raises(JobError):
        download_task(task(serve(archive(), answers=[refuse(404)])), tmp_path, ignore)
    with hold(tmp_path / ".Toy.lock", "the test", wait=False):
        pass


def test_empty_folder_is_no_dataset(serve, tmp_path):
    (tmp_path / "Toy").mkdir()
    download_task(task(serve(archive())), tmp_path, ignore)
    assert names(tmp_path / "Toy") == ["dataset.json", "imagesTr"]


def test_folder_of_something_else(serve, tmp_path):
    (tmp_path / "Toy/photographs").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Toy is there but holds neither dataset\.json nor imagesTr; move it away"):
        download_task(task(serve(archive())), tmp_path, ignore)


def test_file_in_the_folders_place(serve, tmp_path):
    (tmp_path / "Toy").write_text("case,image")
    with pytest.raises(DataError, match="Toy is a file"):
        download_task(task(serve(archive())), tmp_path, ignore)


@pytest.mark.parametrize("name", ["archive.tar", "with space & ümlaut.zip"])
def test_local_archives_are_unpacked_where_they_lie(tmp_path, name):
    content, path = archive(), tmp_path / name
    path.write_bytes(content)
    download_task(task(path.as_uri(), content), tmp_path / "data", ignore)
    assert names(tmp_path / "data") == ["Toy"]
    assert path.read_bytes() == content


def test_local_archive_that_is_wrong_is_left_alone(tmp_path):
    path = tmp_path / "archive.tar"
    path.write_bytes(archive())
    with pytest.raises(DataError, match=rf"{path}: the archive has the MD5"):
        download_task(task(path.as_uri(), b"another"), tmp_path / "data", ignore)
    assert path.exists()


def test_local_archive_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"names the archive /no/such\.tar, and there is no such file"):
        download_task(task("file:///no/such.tar"), tmp_path, ignore)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x.tar", "must begin with http://HOST/.*got 'ftp://host/x.tar'; ftp is not used"),
        ("/data/x.tar", "must begin with http://HOST/, https://HOST/ or file:///PATH, got '/data/x.tar'"),
        ("file://host/x.tar", "must begin with"),
        ("file:///", "must begin with"),
        ("http:///x.tar", "must begin with"),
        ("data:text/plain,x", "must begin with"),
        ("C:\\data\\x.tar", "must begin with"),
        ("http://host:port/x.tar", "is no address: Port could not be cast"),
        ("http://[::1/x.tar", "is no address: Invalid IPv6"),
        ("http://.host/x.tar", "is no address: "),
        ("https://me:secret@host/x.tar", "holds a user name or a password"),
    ],
)
def test_addresses_that_cannot_be(tmp_path, url, message):
    with pytest.raises(UsageError, match=message) as caught:
        download_task(task(url), tmp_path, ignore)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_addresses_are_escaped_where_needed(serve, tmp_path):
    site = serve(archive())
    address = site.url.replace("Toy.tar", "a b/ü%20.tar?x=1&y=[2]")
    download_task(TaskSettings(name="Toy", url=address), tmp_path, ignore)
    assert site.paths == ["/a%20b/%C3%BC%20.tar?x=1&y=[2]"]


@pytest.mark.parametrize("md5", ["abc", "g" * 32, ""])
def test_checksums_that_cannot_be(serve, tmp_path, md5):
    with pytest.raises(UsageError, match=f"task.md5 must be 32 hexadecimal digits, got '{md5}'"):
        download_task(TaskSettings(name="Toy", url="http://host/x.tar", md5=md5), tmp_path, ignore)


def test_task_without_address(tmp_path):
    with pytest.raises(UsageError, match="no url"):
        download_task(TaskSettings(name="Mine"), tmp_path, ignore)


def test_checksum_in_capitals(serve, tmp_path):
    content = archive()
    md5 = hashlib.md5(content).hexdigest().upper()
    download_task(TaskSettings(name="Toy", url=serve(content).url, md5=md5), tmp_path, ignore)
    assert os.listdir(tmp_path) == ["Toy"]
