"""The steps that are measured, done here on tiny data; a step in a process of its own; the benchmark in short."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from scripts.benchmarks import scaling
from scripts.benchmarks.scaling_curves import load_points
from scripts.benchmarks.scaling_sets import make_cases, make_volumes
from scripts.benchmarks.scaling_work import WORKS
from segfw import load_dataset
from segfw.io.formats.readers import read_label


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "n").mkdir()
    return tmp_path / "n"


def test_tiny_cases_are_a_dataset_without_twins(folder):
    dataset = load_dataset(make_cases(folder / "data", 25))
    assert [case.name for case in dataset.cases][::24] == ["case_00000", "case_00024"]
    images = {(folder / f"data/imagesTr/{case.name}_0000.nii.gz").read_bytes() for case in dataset.cases}
    assert len(images) == 25


@pytest.mark.parametrize("number", [2, 10, 200])
def test_a_volume_holds_every_label(folder, number):
    dataset = load_dataset(make_volumes(folder / "data", (16, 16, 128), number))
    assert np.unique(read_label(dataset.cases[0].label).array).tolist() == list(range(number))
    assert len(dataset.labels.values) == number


@pytest.mark.parametrize(
    ("work", "left"),
    [
        ("list", "out/dataset.yaml"),
        ("divide", "splits.json"),
        ("average", "metrics.csv"),
        ("claim", "segmented/case_00009.nii.gz"),
    ],
)
def test_each_step_on_many_cases(folder, work, left):
    make_cases(folder / "data", 10)
    WORKS[work](folder)
    assert (folder / left).is_file()


@pytest.mark.parametrize(
    ("work", "left"),
    [("preprocess", "case_00000.record.json"), ("restore", "restored.nii.gz"), ("score", ""), ("postprocess", "")],
)
def test_each_step_on_one_volume(folder, work, left):
    make_volumes(folder / "data", (48, 48, 48), 3)
    WORKS[work](folder)
    assert (folder / left).exists()


def test_what_is_restored_is_the_reference(folder):
    make_volumes(folder / "data", (48, 48, 48), 3)
    WORKS["restore"](folder)
    found, wanted = (read_label(folder / name).array for name in ("restored.nii.gz", "data/labelsTr/case_00000.nii"))
    assert (found == wanted).mean() > 0.95


def test_a_step_is_timed_and_what_it_leaves_is_counted(folder):
    (folder / "before").touch()
    code = f"print('one'); print('two'); open({str(folder / 'new')!r}, 'w')"
    point = scaling.step("cases", 7, "toy", ["-c", code], folder)
    assert (point.axis, point.size, point.step, point.files, point.lines) == ("cases", 7, "toy", 1, 2)
    assert point.wall > 0
    with pytest.raises(RuntimeError, match=r"toy at 7: .*ended with 1:(.|\n)*no data"):
        scaling.step("cases", 7, "toy", ["-c", "import sys; sys.exit('no data')"], folder)


def test_volumes_too_large_for_the_memory_are_left_out(folder, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "SHAPES", {1000: (16, 8, 8), 8000: (16, 8, 8)})
    monkeypatch.setattr(scaling, "step", lambda axis, size, name, words, folder: name)
    known = [scaling.Point("voxels", 1000, "preprocess", 1, 1, 1600.0, 0, 0)]  # 8 times that: 12.8 GB
    assert [*scaling.many_voxels(8000, folder, known)] == ["fingerprint", "restore"]
    assert "voxels 8000 preprocess: left out, would take about 13 GB" in capsys.readouterr().out


def test_shares_are_of_the_largest_size_that_both_were_measured_at():
    costs = {("cases", 10): 2.0, ("cases", 100): 6.0, ("cases", 1000): 9.0}
    costs |= {(scaling.BESIDE, 10): 4.0, (scaling.BESIDE, 100): 8.0}
    points = [scaling.Point(axis, size, "plan", 1, cpu, 1, 0, 0) for (axis, size), cpu in costs.items()]
    assert scaling.shares(points) == {"cases_plan_cpu_seconds": 0.75}
    assert scaling.shares(points[:3]) == {}


def score_alone(size, folder, known):
    make_volumes(folder / "data", (16, 16, 16), size)
    yield scaling.step("labels", size, "score", scaling.work("score", folder), folder)


@pytest.mark.slow
def test_the_benchmark_in_short(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(scaling.AXES, "labels", replace(scaling.AXES["labels"], measure=score_alone))
    words = ["scaling.py", "--quick", "--axis", "labels", "--results", str(tmp_path), "--pictures", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    scaling.main()
    assert list(json.loads(capsys.readouterr().out.splitlines()[-1])) == ["labels_score_exponent"]
    kept = json.loads((tmp_path / "scaling.json").read_text())["labels"]
    assert [(row["step"], row["size"]) for row in kept["steps"]] == [("score", 10)]
    assert [point.size for point in load_points(tmp_path / "scaling.csv")] == [2, 10]
    assert (tmp_path / "scaling_labels.svg").is_file()
