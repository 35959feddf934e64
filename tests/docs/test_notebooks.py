"""The notebooks are valid, hold no outputs, and run: their cells in order, in one namespace, with fewer voxels."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest

from segfw.__main__ import main
from tests.docs.pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


RUN = subprocess.run


def run_here(words: list[str], **options: Any) -> Any:
    """Do in this process what a notebook lets a process of its own do; other programs, such as git, run as ever."""
    if words[:3] != [sys.executable, "-m", "segfw"]:
        return RUN(words, **options)
    assert options == {"check": True}
    assert main([*words[3:], "data.workers=0", "executor.workers=0", "inference.mirror=false"]) == 0
    return None


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 5_000)
    monkeypatch.setattr("segfw.io.datasets.phantom.NUM_CASES", 5)
    monkeypatch.setattr("subprocess.run", run_here)
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")


def cells_of(path: Path) -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_both_are_named_on_their_page() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 2
    assert all(f"| `{path.name}` |" in page for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_holds_no_outputs(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    assert [(cell.outputs, cell.execution_count) for cell in cells_of(path)] == [([], None)] * len(cells_of(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, somewhere: None, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells_of(path), start=1):
        exec(compile(cell.source, f"{path.name} cell {number}", "exec"), namespace)
    plt.close("all")
    said = capsys.readouterr().out
    assert {"predict_and_look": "core         Dice ", "change_a_plan": "wrong.yaml: "}[path.stem] in said
