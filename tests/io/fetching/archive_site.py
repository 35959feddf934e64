"""A web site on this machine that gives one file, and fails in whatever way a test asks for."""

import functools
import io
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from segfw.io.fetching import fetch

GOOD = {"Toy/dataset.json": b"{}", "Toy/imagesTr/a.nii.gz": b"x" * 50000, "Toy/imagesTr/._a.nii.gz": b"hidden"}
CONTENT = bytes(range(256)) * 400  # 102,400 bytes


class Site(ThreadingHTTPServer):
    """Give `content` for every GET.

    `answers`: functions of (handler, start) that give the next answers instead, in turn; `headers`: what is said of
    the content; `ranges`: whether parts may be asked for. `asked`: the Range header of every request so far.
    """

    daemon_threads = True

    def __init__(self, content, answers=(), headers=None, ranges=True):
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.answers, self.ranges = content, list(answers), ranges
        self.headers = {"ETag": '"one"'} if headers is None else headers
        self.asked, self.paths = [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/Toy.tar"


class Answer(BaseHTTPRequestHandler):
    """Answer GET with the site's content."""

    def do_GET(self):
        site, asked = self.server, self.headers.get("Range")
        site.asked.append(asked)
        site.paths.append(self.path)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and site.ranges else 0
        condition = self.headers.get("If-Range")
        if condition and condition not in (site.headers.get("ETag"), site.headers.get("Last-Modified")):
            start = 0
        if site.answers:
            site.answers.pop(0)(self, start)
        else:
            give(self, start)

    def log_message(self, *arguments):
        """Say nothing."""


def head(handler, status, headers):
    """Send the status line and headers."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def give(handler, start, send=None, **headers):
    """Give the content from `start` on, but no more than `send` bytes of it; `headers` replace the true ones."""
    site = handler.server
    size = len(site.content)
    if start >= size > 0:
        head(handler, 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
        return
    true = {"Content_Length": str(size - start), **site.headers}
    if start:
        true["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
    said = {name.replace("_", "-"): value for name, value in {**true, **headers}.items() if value is not None}
    head(handler, 206 if start else 200, said)
    handler.wfile.write(site.content[start:] if send is None else site.content[start : start + send])


def drop(handler, start):
    """Break off in the middle of what is left."""
    give(handler, start, send=(len(handler.server.content) - start) // 2)


def refuse(status, **headers):
    """Return an answer without the content."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, start: head(handler, status, {"Content-Length": "0", **said})


@contextmanager
def serving():
    """Yield a function that starts a site, and end them all."""
    sites = []

    def start(content, **arguments):
        site = Site(content, **arguments)
        threading.Thread(target=functools.partial(site.serve_forever, poll_interval=0.01), daemon=True).start()
        sites.append(site)
        return site

    yield start
    for site in sites:
        site.shutdown()
        site.server_close()


def archive(members=None, extra=(), mode="w"):
    """Make a tar archive of {name: bytes}, and of `extra` TarInfo objects."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in (GOOD if members is None else members).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return buffer.getvalue()


def ignore(done, total):
    """Report nothing."""


def get(site, part, report=ignore):
    """Fetch what the site gives and check it; return whether it was resumed."""
    resumed = fetch.fetch(site.url, part, report)
    assert part.read_bytes() == site.content
    return resumed
