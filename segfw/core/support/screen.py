"""What a command tells on stdout, whose reader may leave before it ends, as `head` does.

What is told then reaches nobody, while the work goes on and the log file has it all. Python alone would raise, or
print a traceback for every line.
"""

import logging
import os
import sys
from typing import TextIO


def tell(text: str) -> None:
    """Write to stdout at once."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_reader(sys.stdout)


class Screen(logging.StreamHandler[TextIO]):
    """Shows what is logged."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Look at what came of showing `record`: where nobody reads any more, that is no error."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _forget_reader(self.stream)
        else:
            super().handleError(record)


def _forget_reader(stream: TextIO) -> None:
    """Let whatever is written from now on go nowhere, the text that waits in the buffer included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
