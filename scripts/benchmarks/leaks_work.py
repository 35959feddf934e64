"""Do something many times over in this process, and take a census each time.

`python scripts/benchmarks/leaks_work.py WORK COUNT FOLDER`, where FOLDER/demo holds a trained demo; for `leaks.py`.
"""

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from scripts.benchmarks.census import append, take_census
from scripts.benchmarks.common import TINY
from segfw.__main__ import main

WORDS = (
    *TINY,
    "trainer.limit_train_batches=2",
    "trainer.accelerator=cpu",
    "executor.workers=0",
)
TRACKED = (
    "logger=many",
    "logger.mode=offline",
    "logger.upload=[images,tables,model]",
    "logger.pictures_every=10",
)
SAMPLES = "samples.jsonl"


class EpochCensus(Callback):
    """Take a census at the beginning of each epoch."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a sample to the file."""
        append(self.file, take_census(os.getpid()))


class LineCensus(logging.Handler):
    """Take a census whenever a line of a kind is logged."""

    def __init__(self, file: Path, pattern: str) -> None:
        super().__init__(logging.INFO)
        self.file, self.pattern = file, re.compile(pattern)

    def emit(self, record: logging.LogRecord) -> None:
        """Add a sample to the file."""
        if self.pattern.match(record.getMessage()):
            append(self.file, take_census(os.getpid()))


def roots(folder: Path) -> tuple[str, str]:
    """Return where the data lie and the outputs come."""
    return f"data_root={folder / 'data'}", f"output_root={folder / 'demo'}"


def train(folder: Path, count: int, *words: str) -> int:
    """Train `count` epochs, with a checkpoint, on-line validation and every tracker in each."""
    census = f"{{_target_: {__name__.replace('__main__', 'scripts.benchmarks.leaks_work')}.EpochCensus, "
    census += f"file: {folder / SAMPLES}}}"
    epochs = f"trainer.max_epochs={count}"
    return main([*WORDS, *roots(folder), *TRACKED, epochs, f"+callbacks.census={census}", "stages=[train]", *words])


def predict(folder: Path, count: int) -> int:
    """Segment `count` images, those of the demo over and over."""
    images = sorted((folder / "data/Demo/imagesTr").iterdir())
    (folder / "images").mkdir()
    for number in range(count):
        (folder / f"images/case{number:04d}.nii.gz").symlink_to(images[number % len(images)])
    logging.getLogger("segfw").addHandler(LineCensus(folder / SAMPLES, r"\d+/\d+ case"))
    model, source, output = folder / "demo/Demo/models/main", folder / "images", folder / "segmented"
    return main(["predict", f"model={model}", f"input={source}", f"output={output}", "accelerator=cpu", "threads=1"])


def search(folder: Path, count: int) -> int:
    """Run `count` trials of a search in this process."""
    logging.getLogger("segfw").addHandler(LineCensus(folder / SAMPLES, "trial .*: "))
    words = ("hparams_search=optuna", f"hydra.sweeper.n_trials={count}", "trainer.max_epochs=1", *TRACKED)
    return main(["-m", *WORDS, *roots(folder), *words])


def jobs(folder: Path, count: int) -> int:
    """Run `count` jobs of `-m`, one after the other in this process."""
    logging.getLogger("segfw").addHandler(LineCensus(folder / SAMPLES, "train .*: finished"))
    seeds = ",".join(map(str, range(count)))
    words = (f"seed={seeds}", "stages=[train]", "trainer.max_epochs=1", *TRACKED)
    return main(["-m", *WORDS, *roots(folder), *words])


WORKS: dict[str, Callable[[Path, int], int]] = {
    "train": lambda folder, count: train(folder, count, "name=alone", "data.workers=0"),
    "train_workers": lambda folder, count: train(folder, count, "name=helped", "data.workers=2"),
    "predict": predict,
    "search": search,
    "jobs": jobs,
}


if __name__ == "__main__":
    sys.exit(WORKS[sys.argv[1]](Path(sys.argv[3]), int(sys.argv[2])))
