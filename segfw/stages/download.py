"""Verb `download`: fetch a dataset's archive and unpack it."""

import logging
from pathlib import Path

from segfw.core.errors import UsageError
from segfw.core.settings import DownloadSettings
from segfw.io.download import download_task

log = logging.getLogger(__name__)

STEP = 50 * 2**20


def run(settings: DownloadSettings) -> None:
    """Fetch the task's archive (resuming an earlier attempt), check it and unpack it under `data_root`."""
    if settings.task.url is None:
        raise UsageError(f"task {settings.task.name} states no url to download from; give +task=Task04, or task.url=")
    told = -1

    def report(done: int, total: int | None) -> None:
        nonlocal told
        if done // STEP != told:
            told = done // STEP
            log.info("%d MB%s", done >> 20, f" of {total >> 20} MB" if total else "")

    folder = download_task(settings.task, Path(settings.data_root), report)
    log.info("download: %s is there", folder)
