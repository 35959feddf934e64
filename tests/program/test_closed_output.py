"""The reader of stdout leaves early, as in `segfw ... | head -1`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segfw.core.types import Geometry
from segfw.io.formats.readers import write_label

GRID = Geometry((1.0, 1.0, 1.0), (0.0,) * 3, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("scans", "masks"):
        (tmp_path / name).mkdir()
        write_label(tmp_path / name / "a.nii.gz", (np.arange(8) % 2).astype(np.uint8).reshape(2, 2, 2), GRID)


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--help"], None),
        (["evaluate", "--help"], None),
        (["init", "images=scans", "labels=masks", "name=Mine", "modality=CT", "workers=0"], "configs/task/Mine.yaml"),
        (["evaluate", "predictions=masks", "references=masks", "executor.workers=0"], "masks/metrics.csv"),
        (["status", "+task=Demo"], None),
    ],
)
def test_the_work_goes_on_and_nothing_is_said_of_it(tmp_path: Path, words: list[str], written: str | None) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "segfw", *words],
        cwd=tmp_path,
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    assert written is None or (tmp_path / written).is_file()
