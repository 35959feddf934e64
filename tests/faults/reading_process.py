"""A process that reads images for another one, which outlives it if it crashes, hangs or takes too much memory.

`python -m tests.faults.reading_process` reads a path a line and answers a line of JSON for each.
"""

import json
import math
import os
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector

import numpy as np

from segfw.core.errors import SegfwError
from segfw.core.types import Volume
from segfw.io.formats.alpha import lost_alpha
from segfw.io.formats.nifti_floats import find_not_finite
from segfw.io.formats.readers import read_geometry, read_image, read_label

ADDRESS_SPACE = 8 * 2**30  # for what a reader asks for in spite of all; nothing of that size is ever touched
BASE = 64 * 2**20  # what reading may take besides the voxels: buffers, caches, libraries loaded late
PER_BYTE = 6  # of memory for each byte of voxels as float32: the file's own type (8 bytes), one copy of it, the result
SECONDS = 20.0


class ReadingProcess:
    """The parent's side: `answer` returns what became of a file; the process is started anew when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "ReadingProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def answer(self, path: Path) -> dict[str, str]:
        """Return {outcome: read, refused, bug, crash or hang; told: the message or what is wrong}."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.faults.reading_process"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        with DefaultSelector() as selector:
            selector.register(process.stdout, EVENT_READ)
            ready = selector.select(SECONDS if process.poll() is None else 0)
        line = process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        self._end()
        return {"outcome": "crash" if ready else "hang", "told": f"exit status {process.returncode}"}

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def outcome(path: Path) -> dict[str, str]:
    """Read a path in every way there is; say what came of it, the worst first."""
    _forget_peak()
    before, largest, refusals = _peak(), 0, []
    for read in (read_geometry, read_image_alone, read_label, find_not_finite):
        try:
            found = read(path)
        except SegfwError as error:
            if path.name not in str(error):
                return {"outcome": "bug", "told": f"{read.__name__}: {path.name} is not named: {error}"}
            refusals.append(f"{read.__name__}: {error}")
        except Exception:
            return {"outcome": "bug", "told": f"{read.__name__}: {traceback.format_exc()}"}
        else:
            if isinstance(found, Volume):
                largest = max(largest, found.array.size * 4)
                if wrong := _insane(found):
                    return {"outcome": "bug", "told": f"{read.__name__}: {wrong}"}
    taken = _peak() - before
    if taken > BASE + PER_BYTE * largest:
        return {"outcome": "bug", "told": f"took {taken >> 20} MiB for {largest >> 20} MiB of voxels; {refusals}"}
    return {"outcome": "refused" if refusals else "read", "told": "; ".join(refusals)}


def read_image_alone(path: Path) -> Volume:
    """Read an image of one file, and whether it has lost an alpha channel."""
    volume = read_image([path])
    lost_alpha(str(path), len(volume.array))
    return volume


def _insane(volume: Volume) -> str:
    """Return what is wrong with a volume that was read, empty if nothing is."""
    geometry = volume.geometry
    if volume.array.size == 0:
        return f"no voxel: {volume.array.shape}"
    if geometry is None or not all(math.isfinite(s) and s > 0 for s in geometry.spacing):
        return f"spacing of {geometry}"
    if not np.isfinite(geometry.origin).all() or not np.isfinite(geometry.direction).all():
        return f"not finite: {geometry}"
    if abs(abs(np.linalg.det(geometry.direction)) - 1) > 0.01:
        return f"not at right angles: {geometry}"
    return ""


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the most bytes held since `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # ITK's formats print there
    for line in sys.stdin:
        started = time.monotonic()
        answer = outcome(Path(line.rstrip("\n")))
        answers.write(json.dumps({**answer, "seconds": f"{time.monotonic() - started:.3f}"}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
