"""The arithmetic of the benchmarks: what is measured of processes, who runs when, and what is told at the end."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scripts.benchmarks import common
from scripts.benchmarks.common import Peer, Turns, Usage, child, lay_out, ratio, take_turns, tell, timed
from segfw.core.cases.dataset import Case, Dataset
from segfw.core.labels import LabelSet
from segfw.interop.nnunet import read_plans

FOLDER = Path(common.__file__).parent


def usages(*walls):
    return tuple(Usage(wall, wall / 2, 100) for wall in walls)


def test_ratio_is_of_the_sums_of_the_least_disturbed_runs():
    works = [Turns(usages(3.0, 1.0), usages(2.0, 5.0)), Turns(usages(4.0), usages(3.0, 3.0))]
    assert ratio(works, "wall") == (1.0 + 4.0) / (2.0 + 3.0)
    assert ratio(works, "cpu") == (0.5 + 2.0) / (1.0 + 1.5)
    assert ratio(works, "peak") == 1.0


def test_sides_take_turns_at_being_first():
    order = []

    def run(side):
        order.append(side)
        return Usage(1.0, 1.0)

    turns = take_turns(lambda: run("ours"), lambda: run("theirs"), 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(turns.ours) == len(turns.theirs) == 3
    assert take_turns(lambda: run("ours"), None, 2) == Turns((Usage(1.0, 1.0),) * 2, ())


def test_time_in_this_process():
    usage = timed(lambda: sum(range(10**6)))()
    assert 0 < usage.cpu <= usage.wall * 1.5
    assert usage.peak == 0


WORK = """
import subprocess, sys, time
block = bytearray({megabytes} * 2**20)
for i in range(0, len(block), 4096): block[i] = 1
end = time.process_time() + {seconds}
while time.process_time() < end: pass
"""


def test_a_child_with_its_descendants():
    inner = WORK.format(megabytes=60, seconds=0.3)
    outer = f"{WORK.format(megabytes=40, seconds=0.3)}\nsubprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    usage = child([sys.executable, "-c", outer])()
    assert usage.wall > 0.6
    assert 0.6 <= usage.cpu < 2.0
    assert 100 * 2**20 < usage.peak < 160 * 2**20


def test_the_memory_of_this_process_is_not_the_childs():
    block = bytes(range(256)) * 2**20  # 256 MB
    assert child([sys.executable, "-c", "import time; time.sleep(0.2)"])().peak < 2**26
    assert len(block) == 2**28


def test_a_child_with_much_to_say_ends(capfd):
    command = [sys.executable, "-c", "print('x' * 10**6)"]
    assert child(command)().wall > 0
    assert capfd.readouterr().out == ""


def test_the_environment_of_a_child():
    assert child([sys.executable, "-c", "import os; assert os.environ['TOY'] == '1'"], {"TOY": "1"})().cpu > 0


def test_a_child_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"ended with 3:\nno data"):
        child([sys.executable, "-c", "import sys; print('no data'); sys.exit(3)"])()


def test_processes_that_are_gone_count_nothing():
    assert common.memory({2**30: 0}) == 0
    assert common.highest(2**30) == 0
    assert common.processor_seconds(2**30) == 0.0
    assert common.descendants(2**30) == {2**30: 0}


def test_a_process_that_still_is_its_parent_counts_once(monkeypatch):
    accounts = {1: "Pss:   10 kB", 2: "Pss:   10 kB", 3: "Pss:    7 kB", 4: "Pss:    7 kB"}
    monkeypatch.setattr(common, "_read", lambda path: accounts[int(path.parts[2])])
    assert common.memory({1: 0, 2: 1, 3: 1, 4: 1}) == (10 + 7 + 7) * 1024


def test_machine_and_versions():
    machine = common.machine()
    assert machine["cores"] >= 1
    assert machine["memory_gb"] > 0
    assert common.versions("numpy", "no-such-package") == {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }


def test_the_outcome_is_the_last_line_and_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/benchmarks/toy.py", "--data", "my data"])
    works = {"small": [Turns(usages(1.0), usages(3.0))]}
    tell("toy", {"read_seconds_small": 1 / 3}, works, {"machine": {"cores": 2}}, tmp_path / "results")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"read_seconds_small": 0.3333}
    content = json.loads((tmp_path / "results/toy.json").read_text())
    assert content["command"] == "python scripts/benchmarks/toy.py --data 'my data'"
    assert (content["outcome"], content["machine"]) == ({"read_seconds_small": 0.3333}, {"cores": 2})
    assert content["runs"] == {
        "small": [
            {"ours": [{"wall": 1.0, "cpu": 0.5, "peak": 100}], "theirs": [{"wall": 3.0, "cpu": 1.5, "peak": 100}]}
        ]
    }


def test_nothing_is_written_unasked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tell("toy", {"x": 2.0}, {}, {}, None)
    assert (capsys.readouterr().out, list(tmp_path.iterdir())) == ('{"x": 2.0}\n', [])


@pytest.fixture
def reading(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("reading")


@pytest.fixture
def agreement(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("augmentation_agreement")


def test_changes_of_a_patch_by_hand(agreement):
    before = np.zeros((1, 2, 2), np.float32)
    outcomes = [
        (before, np.array([[[0, 0], [0, 1]]])),
        (np.array([[[0.0, 0.0], [2.0, -6.0]]]), np.array([[[2, 0], [0, 1]]])),
    ]
    noted = agreement.note_changes(before, lambda count: outcomes * (count // 2), 100)
    assert noted["frequency"][0] == 0.5
    assert noted["frequency"][1] == pytest.approx((0.25 / 99) ** 0.5)
    names = ("mean", "deviation", "minimum", "maximum", "label_-1", "label_0", "label_1", "label_2")
    assert [noted[name][0] for name in names] == [-1, pytest.approx(3), -6, 2, 0, 0.5, 0.25, 0.25]


def test_distance_in_standard_errors(agreement):
    assert agreement.distance([1.0, 0.3], [2.0, 0.4]) == pytest.approx(2)
    assert agreement.distance([1.0, 0.0], [1.0, 0.0]) == 0


def test_agreement_tells_our_frequencies(agreement, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(agreement, "QUICK", 100)
    monkeypatch.setattr(sys, "argv", ["augmentation_agreement.py", "--quick", "--results", str(tmp_path)])
    threads = agreement.torch.get_num_threads()
    agreement.main()
    agreement.torch.set_num_threads(threads)
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(outcome) == 3 * 9
    assert outcome["frequency_3d_mirror"] > outcome["frequency_3d_noise"] > 0
    content = json.loads((tmp_path / "augmentation_agreement.json").read_text())
    assert content["draws"] == 100
    assert content["ours"]["2d"]["spatial"]["frequency"][0] == outcome["frequency_2d_spatial"]


def test_reading_on_small_sets(reading, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reading, "LARGE_SHAPE", (8, 16, 16))
    for name in ("Task04_Hippocampus/imagesTr/a.nii.gz", "loose/b.nii.gz", "loose/.c.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        reading.make_image(tmp_path / name, (4, 5, 6), 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("")
    monkeypatch.setattr(sys, "argv", ["reading.py", "--quick", "--data", str(tmp_path)])
    reading.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["small", "large", "loose"]
    outcome = json.loads(lines[-1])
    names = ["small", "large", "loose"]
    assert list(outcome) == [f"read_{key}_{name}" for name in names for key in ("seconds", "cpu_seconds")]
    assert all(value > 0 for value in outcome.values())


def test_files_are_spread_over_the_set(reading, tmp_path):
    for number in range(10):
        (tmp_path / "Set").mkdir(exist_ok=True)
        (tmp_path / f"Set/{number}.nii.gz").touch()
    assert [path.name[0] for path in reading.real_sets(tmp_path, 4)["Set"]] == ["0", "3", "6", "9"]


def test_reading_notices_other_values(reading, tmp_path, monkeypatch):
    path = reading.make_image(tmp_path / "a.nii.gz", (4, 5, 6), 0)
    assert sitk.ReadImage(str(path)).GetSize() == (6, 5, 4)
    monkeypatch.setattr(reading, "theirs", lambda path: np.zeros((4, 5, 6)))
    with pytest.raises(RuntimeError, match=r"a\.nii\.gz reads differently"):
        reading.compare([path], 1)


def test_store_on_small_arrays(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    store = importlib.import_module("store")
    sizes = {"QUICK_SHAPE": (12, 14, 16), "LARGE_PATCH": (8, 8, 8), "LARGE_READS": 40, "SMALL_CASES": 3}
    for name, value in {**sizes, "SMALL_PATCH": (5, 6, 7), "SMALL_READS": 40}.items():
        monkeypatch.setattr(store, name, value)
    monkeypatch.setattr(sys, "argv", ["store.py", "--quick", "--results", str(tmp_path)])
    store.main()
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert outcome["bytes_large_image_npy_float16"] == pytest.approx(0.5, abs=0.01)
    works = [f"{size}_{kind}" for size in ("large", "small") for kind in ("image", "label")]
    assert all(outcome[f"milliseconds_{work}_npy_ours"] > 0 for work in works)
    assert json.loads((tmp_path / "store.json").read_text())["outcome"] == outcome


def test_store_notices_a_format_that_changes_values(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    store = importlib.import_module("store")
    lossy = store.Format(lambda array, path, patch: store.write_npy(array + 1, path, patch), store.map_array)
    monkeypatch.setattr(store, "formats", lambda image: {"lossy": lossy})
    work = store.Work([np.zeros((4, 4, 4), np.int8)], (2, 2, 2), [(0, (0, 0, 0))])
    with pytest.raises(RuntimeError, match="lossy does not give back what was written"):
        store.measure(work, tmp_path, 1)


def test_published_commands_hold_no_path_of_this_machine():
    words = ["scripts/benchmarks/reading.py", "--data", "/somewhere/data sets", "--peer-python=x", "--quick"]
    expected = "python scripts/benchmarks/reading.py --data 'data sets' --peer-python=x --quick"
    assert common.told_command(words) == expected


def test_the_first_cases_are_linked_in_the_raw_layout_of_the_rival(tmp_path):
    cases = tuple(Case(name, (f"/d/{name}_ct.nii.gz", f"/d/{name}_pet.nii.gz"), f"/m/{name}.nii.gz") for name in "abc")
    dataset = Dataset("Toy", ("CT", "PET"), LabelSet({"background": 0, "organ": 1}), 3, cases)
    peer = Peer(Path("/peer/bin/python"), tmp_path)
    raw = peer.raw("Dataset901_Toy")
    lay_out(dataset, 2, raw)
    links = {path.relative_to(raw).as_posix(): str(path.readlink()) for path in raw.glob("*Tr/*")}
    assert links == {
        **{f"imagesTr/{case}_0000.nii.gz": f"/d/{case}_ct.nii.gz" for case in "ab"},
        **{f"imagesTr/{case}_0001.nii.gz": f"/d/{case}_pet.nii.gz" for case in "ab"},
        **{f"labelsTr/{case}.nii.gz": f"/m/{case}.nii.gz" for case in "ab"},
    }
    assert json.loads((raw / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT", "1": "PET"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert peer.environment["nnUNet_raw"] == str(raw.parent)
    assert peer.command("nnUNetv2_train", "-h") == ["/peer/bin/nnUNetv2_train", "-h"]


def test_training_tells_the_worse_input_and_the_wall_time_of_the_rest(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    training = importlib.import_module("training")
    works = training.list_works(training.QUICK, "cpu")
    assert [work.name for work in works] == ["input, 2d", "input, 3d_fullres", "step, small", "iterations, small"]
    measured = {
        work: Turns((Usage(ours, ours / 10),), (Usage(10.0, theirs),))
        for work, ours, theirs in zip(works, (1.0, 2.0, 3.0, 4.0), (1.0, 1.0, 1.0, 1.0), strict=True)
    }
    assert training.summarize(measured, True) == {
        "input_cpu_seconds_per_batch": 0.2,
        "step_seconds": 0.3,
        "seconds_per_iteration": 0.4,
    }
    assert training.summarize(measured, False) == {
        "input_cpu_seconds_per_batch_ours": 0.2,
        "step_seconds_ours": 3.0,
        "seconds_per_iteration_ours": 4.0,
    }


def test_training_plans_what_is_published(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    training = importlib.import_module("training")
    plans = training.make_plans()
    sizes = {
        (name, key): (plans[name].configurations[key].batch_size, plans[name].configurations[key].patch_size)
        for name, key in (
            ("planned", "2d"),
            ("planned", "3d_fullres"),
            ("small", "3d_fullres"),
            ("large", "3d_fullres"),
        )
    }
    assert list(sizes.values()) == [(366, (56, 40)), (9, (40, 56, 40)), (2, (40, 56, 40)), (2, (128, 128, 128))]


def test_inference_takes_the_cases_that_the_model_was_validated_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    inference = importlib.import_module("inference")
    names = [f"case_{number:02d}" for number in range(50)]
    folder = tmp_path / "fold_0" / "validation"
    folder.mkdir(parents=True)

    def know(chosen):
        cases = [{"reference_file": f"/somewhere/{name}.nii.gz"} for name in chosen]
        (folder / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
        return inference.choose_cases(tmp_path, names)

    assert know(names[1::2]) == names[1:40:2]
    assert know(names[:19]) == names[:20]


def test_inference_tells_the_better_of_nnunets_ways_beside_ours(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    inference = importlib.import_module("inference")
    ways = [
        Turns((Usage(6.0, 1.0, 30),), (Usage(10.0, 1.0, 100),)),
        Turns((Usage(4.0, 1.0, 20),), (Usage(20.0, 1.0, 40),)),
    ]
    small, large = Turns((Usage(1.0, 3.0, 5),), (Usage(1.0, 30.0, 100),)), Turns((Usage(9.0, 7.0, 2 * 10**9),), ())
    plain = {"export_105_cpu_seconds_ours": 7.0, "export_105_peak_memory_gb_ours": 2.0}
    assert inference.summarize(ways, small, large, True) == {
        "predict_seconds": 0.4,
        "predict_peak_memory": 0.5,
        "export_25_cpu_seconds": 0.1,
        "export_25_peak_memory": 0.05,
        **plain,
    }
    alone = inference.summarize([], Turns(small.ours, ()), large, False)
    assert alone == {"export_25_cpu_seconds_ours": 3.0, "export_25_peak_memory_ours": 5, **plain}


def test_inference_interpolates_between_voxel_centers(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    inference = importlib.import_module("inference")
    logits = np.zeros((2, 2, 1, 1), np.float16)
    logits[1, :, 0, 0] = 0, 4
    places = np.array([[z, 0, 0] for z in range(4)])
    # centers of 4 voxels on 2 samples: -0.25, 0.25, 0.75, 1.25, held at the edge
    found = inference.interpolate(logits, np.ones(4, np.int64), places, (4, 1, 1))
    assert found.tolist() == [0.0, 1.0, 3.0, 4.0]
    assert inference.interpolate(logits, np.zeros(4, np.int64), places, (4, 1, 1)).tolist() == [0.0] * 4


def test_inference_refuses_a_difference_that_is_no_tie(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    inference = importlib.import_module("inference")
    monkeypatch.setattr(inference, "GRID", (1, 1, 2))
    monkeypatch.setattr(inference, "SHAPE", (1, 1, 2))
    np.array([[[[1.0, 3.0]]], [[[1.0, 2.0]]]], np.float16).tofile(tmp_path / "logits.raw")
    np.save(tmp_path / "theirs_2.npy", np.array([[[0, 0]]], np.uint8))
    np.save(tmp_path / "ours_2.npy", np.array([[[1, 0]]], np.uint8))
    assert inference.compare_export(tmp_path, 2) == "2 classes: 1 of 2 voxels differ, their two logits by at most 0"
    np.save(tmp_path / "ours_2.npy", np.array([[[0, 1]]], np.uint8))
    with pytest.raises(RuntimeError, match=r"2 classes: .* 1 apart"):
        inference.compare_export(tmp_path, 2)


def test_inference_makes_logits_of_one_kind_for_both_cases(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    inference = importlib.import_module("inference")
    inference.make_logits(tmp_path, 3, (4, 5, 6))
    logits = np.fromfile(tmp_path / "logits.raw", np.float16).reshape(3, 4, 5, 6)
    assert set(np.unique(logits.argmax(0))) == {0, 1, 2}
    assert json.loads((tmp_path / "case.json").read_text())["grid"] == [4, 5, 6]
    inference.write_plan(tmp_path / "3", 3)
    plan = read_plans(tmp_path / "3" / "plans.json")
    assert (plan.labels.num_heads, plan.configuration("3d_fullres").spacing) == (3, (1.5, 1.5, 1.5))
