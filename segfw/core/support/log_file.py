"""A log file that may not be written: the work goes on, and the screen says once what the file lacks."""

import logging
import sys
from contextlib import suppress


class LogFile(logging.FileHandler):
    """Write what is logged to a file, and lines that only it shows.

    Python's own handler shows a traceback for every line that a full disk refuses, among which the reason why the
    command fails is not found; and closing it raises what then takes the place of that reason.
    """

    _told = False

    def line(self, text: str) -> None:
        """Write a line that is shown nowhere else."""
        self.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, text, None, None))

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once on the screen what keeps the file from being written; a mistake in what is logged, each time."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            with suppress(OSError):
                sys.stderr.write(
                    f"segfw: the log {self.baseFilename} cannot be written ({error.strerror or error}); "
                    "it lacks what is said from here on\n"
                )

    def close(self) -> None:
        """Close the file; what it could not take was told."""
        with suppress(OSError):
            super().close()
