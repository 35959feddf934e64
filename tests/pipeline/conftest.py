"""The main job through the program itself, from synthetic images to a packaged model: done once, for all who read it.

Files run in the order of their names: `test_outputs` looks at what it left before others train and alter.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from segfw.__main__ import main
from tests.demo_job import TINY


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Give the words that name the folders of data and outputs."""
    folder = tmp_path_factory.mktemp("pipeline")
    return f"data_root={folder / 'data'}", f"output_root={folder / 'out'}"


@pytest.fixture(scope="session")
def output(roots: tuple[str, str]) -> Path:
    """Give the folder that the main job leaves."""
    command = [sys.executable, "-m", "segfw", *TINY, *roots]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return Path(roots[1].removeprefix("output_root=")) / "Demo"


@pytest.fixture
def raw(output: Path) -> Path:
    """Give the folder of its dataset."""
    return output.parents[1] / "data" / "Demo"


@pytest.fixture
def segfw(
    roots: tuple[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Give `segfw(*changes)`, which runs the job in this process and returns its exit status and what it said."""
    # of whole datasets, a fingerprint would take ten seconds
    monkeypatch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 20_000)

    def run(*changes: str) -> tuple[int, str]:
        keys = {change.split("=")[0] for change in changes}
        kept = [argument for argument in (*TINY, *roots) if argument.split("=")[0] not in keys]
        status = main([*kept, *changes])
        said = capfd.readouterr()
        return status, said.out + said.err

    return run
