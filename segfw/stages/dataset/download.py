"""Verb `download`: fetch a dataset's archive and unpack it."""

import logging
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from segfw.core.errors import UsageError
from segfw.core.settings.schema import TaskSettings
from segfw.core.settings.verbs import DownloadSettings
from segfw.io.datasets.layouts import dataset_folder
from segfw.io.fetching.download import checked_source, download_task, is_there, part_of
from segfw.io.fetching.fetch import Report

log = logging.getLogger(__name__)

SHARE = 20  # lines for a whole download
SECONDS = 30.0  # between two lines at most


def run(settings: DownloadSettings) -> None:
    """Fetch the task's archive (resuming an earlier attempt), check it and unpack it under `data_root`."""
    task, data_root = settings.task, Path(settings.data_root)
    if task.synthetic:
        raise UsageError(f"task {task.name!r} is made on first use and needs no download; leave the word download out")
    if task.url is None:
        raise UsageError(f"task {task.name!r} states no url to download from; give +task=Task04, or task.url=")
    part = part_of(dataset_folder(task, data_root))
    if settings.dry_run:
        _tell(task, dataset_folder(task, data_root), part)
        return
    try:
        with show_progress(task.name or part.stem) as report:
            folder = download_task(task, data_root, report)
    except (KeyboardInterrupt, SystemExit):
        if part.is_file():
            log.info("%.1f MB are kept in %s; the same command goes on from there", part.stat().st_size / 1e6, part)
        raise
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    log.info("download: %s is there (%d files, %.1f MB); next:\n  %s", folder, len(files), size / 1e6, _next(settings))


def _tell(task: TaskSettings, folder: Path, part: Path) -> None:
    """Say what would be fetched; raises what is seen to be wrong without fetching."""
    if is_there(folder):
        log.info("download: %s is there, nothing would be fetched", folder)
        return
    url, md5 = checked_source(task, folder)
    begun = f"from the {part.stat().st_size / 1e6:.1f} MB on that {part} holds, " if part.is_file() else ""
    checked = "checked by its MD5" if md5 else "without a checksum (task.md5)"
    log.info("download: would fetch %s, %s%s, and unpack it into %s", url, begun, checked, folder)


def _next(settings: DownloadSettings) -> str:
    decathlon = re.match(r"Task\d\d(?=_)", settings.task.name or "")
    if not decathlon:
        return "the same command without the word download"
    root = "" if settings.data_root == "data" else f" {shlex.quote(f'data_root={settings.data_root}')}"
    return f"python -m segfw +task={decathlon[0]}{root}"


@contextmanager
def show_progress(title: str) -> Iterator[Report]:
    """Show a bar with speed and time left on a terminal; elsewhere log a line for every 5 % and every 30 s."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, time.monotonic)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)


def _unit(size: int) -> tuple[float, str, int]:
    """Return the unit in which a file of this size is told: its bytes, its name, and digits behind the point."""
    return (1e6, "MB", 1) if size >= 1e5 else (1e3, "kB", 1) if size >= 1e3 else (1, "bytes", 0)


def _lines(title: str, clock: Callable[[], float]) -> Report:
    """Return a report that logs a line when a twentieth more is there, or after 30 s."""
    began = told = clock()
    first: int | None = None
    share = 0

    def report(done: int, total: int | None) -> None:
        nonlocal first, share, told
        first = done if first is None else first
        now = clock()
        reached = SHARE * done // total if total else 0
        if reached == share and now - told < SECONDS:
            return
        share, told = reached, now
        speed = max(done - first, 0) / max(now - began, 1e-3) / 1e6
        size, unit, digits = _unit(total or done)
        known = f" of {total / size:.{digits}f} {unit} ({100 * done // total} %)" if total else f" {unit}"
        left = f", {(total - done) / 1e6 / speed:.0f} s left" if total and speed and done < total else ""
        log.info("%s: %.*f%s, %.1f MB/s%s", title, digits, done / size, known, speed, left)

    return report
