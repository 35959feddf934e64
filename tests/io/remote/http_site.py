"""A folder behind HTTP, served by a thread of the test."""

import functools
import http.server
import threading
from contextlib import contextmanager


@contextmanager
def serving(folder):
    """Yield (address, paths asked for so far) of a server of `folder`."""
    asked = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
