"""Downloads against a server on this machine that drops connections, lies and serves hostile archives."""

import functools
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segfw.core.errors import DataError, JobError, UsageError
from segfw.core.settings import TaskSettings
from segfw.io import download
from segfw.io.download import download_task


class Server(ThreadingHTTPServer):
    """Serve one archive; the first `drops` answers break off; `ranges`: whether parts may be asked for."""

    def __init__(self, content, drops=0, ranges=True):
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.drops, self.ranges, self.asked = content, drops, ranges, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/Toy.tar"


class Answer(BaseHTTPRequestHandler):
    """Answer GET with the server's content."""

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        rest = server.content[start:]
        if start and not rest:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if server.drops:
            server.drops -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    servers = []

    def start(content, **arguments):
        server = Server(content, **arguments)
        threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def archive(members=None, extra=()):
    """Make a tar archive of {name: bytes}, and of `extra` TarInfo objects."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (members or GOOD).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return buffer.getvalue()


GOOD = {"Toy/dataset.json": b"{}", "Toy/imagesTr/a.nii.gz": b"x" * 50000, "Toy/imagesTr/._a.nii.gz": b"hidden"}


def task(server, content=None):
    md5 = hashlib.md5(content).hexdigest() if content is not None else None
    return TaskSettings(name="Toy", folder="Toy", url=server.url, md5=md5)


def ignore(done, total):
    pass


def test_archive_becomes_a_folder(serve, tmp_path):
    content = archive()
    server, seen = serve(content), []
    folder = download_task(task(server, content), tmp_path / "data", lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "data/Toy"
    assert (folder / "imagesTr/a.nii.gz").read_bytes() == b"x" * 50000
    assert not (folder / "imagesTr/._a.nii.gz").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["Toy"]
    assert (seen[0], seen[-1]) == ((0, len(content)), (len(content), len(content)))
    download_task(task(server, content), tmp_path / "data", ignore)
    assert len(server.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_dropped_connections_are_taken_up_again(serve, tmp_path, ranges):
    content = archive()
    server = serve(content, drops=2, ranges=ranges)
    download_task(task(server, content), tmp_path, ignore)
    assert server.asked == [None, f"bytes={len(content) // 2}-", server.asked[2]]
    assert (tmp_path / "Toy/imagesTr/a.nii.gz").stat().st_size == 50000


def test_partial_file_of_an_earlier_call_is_continued(serve, tmp_path):
    content = archive()
    (tmp_path / "Toy.tar.part").write_bytes(content[:1000])
    server = serve(content)
    download_task(task(server, content), tmp_path, ignore)
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize("surplus", [b"", b"and more"])
def test_partial_file_that_is_already_whole_or_longer(serve, tmp_path, surplus):
    content = archive()
    (tmp_path / "Toy.tar.part").write_bytes(content + surplus)
    assert (download_task(task(serve(content), content), tmp_path, ignore) / "dataset.json").is_file()


def test_wrong_checksum_is_refused_and_removed(serve, tmp_path):
    content = archive()
    with pytest.raises(DataError, match=hashlib.md5(content).hexdigest()):
        download_task(task(serve(content), b"another"), tmp_path, ignore)
    assert not list(tmp_path.iterdir())


def test_no_server(serve, tmp_path):
    server = serve(b"")
    server.shutdown()
    server.server_close()
    with pytest.raises(JobError, match=r"cannot fetch http://127\.0\.0\.1.*refused"):
        download_task(task(server), tmp_path, ignore)


def test_connection_that_never_gives_anything_is_given_up(serve, tmp_path):
    server = serve(b"x", drops=100)
    with pytest.raises(JobError, match="closed early"):
        download_task(task(server), tmp_path, ignore)
    assert len(server.asked) == download.ATTEMPTS


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        special("Toy/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("Toy/link", tarfile.SYMTYPE, "dataset.json"),
        special("Toy/link", tarfile.LNKTYPE, "Toy/dataset.json"),
        special("Toy/pipe", tarfile.FIFOTYPE),
        special("../outside", tarfile.REGTYPE),
        special("Toy/../../outside", tarfile.REGTYPE),
        special("/outside", tarfile.REGTYPE),
    ],
)
def test_hostile_members_are_refused(serve, tmp_path, member):
    server = serve(archive(extra=[member]))
    with pytest.raises(DataError, match=f"{member.name}.*not unpacked"):
        download_task(task(server), tmp_path / "data", ignore)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["Toy.tar.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_something_else_than_an_archive(serve, tmp_path):
    with pytest.raises(DataError, match="no whole tar archive"):
        download_task(task(serve(b"<html>" * 2000)), tmp_path, ignore)
    assert not list(tmp_path.iterdir())


def test_archive_without_a_dataset(serve, tmp_path):
    with pytest.raises(DataError, match=r"no dataset\.json in \['x'\]"):
        download_task(task(serve(archive({"x/readme": b""}))), tmp_path, ignore)


def test_full_disk_is_noticed_before_the_transfer(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 70000}))
    server = serve(archive())
    with pytest.raises(JobError, match=r"0\.0 GB free.*data_root"):
        download_task(task(server), tmp_path, ignore)
    assert not (tmp_path / "Toy.tar.part").exists()


def test_task_without_address(tmp_path):
    with pytest.raises(UsageError, match="no url"):
        download_task(TaskSettings(name="Mine"), tmp_path, ignore)
