"""A folder behind HTTP, served by a thread of the test."""

import functools
import http.server
import threading
from contextlib import contextmanager


@contextmanager
def serving(folder):
    """Yield (address, paths asked for so far) of a server of `folder`, which calls `.gz` an encoding, as some do."""
    asked = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

        def end_headers(self):
            if self.path.partition("?")[0].endswith(".gz"):
                self.send_header("Content-Encoding", "gzip")
            super().end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
