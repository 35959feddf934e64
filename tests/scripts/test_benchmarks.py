"""What the benchmarks share: what is measured of processes, who runs when, and what is told at the end."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmarks import common
from scripts.benchmarks.common import Peer, Turns, Usage, child, lay_out, ratio, take_turns, tell, timed
from segfw.core.cases.dataset import Case, Dataset
from segfw.core.labels import LabelSet

OF_RUNS = {"accuracy_cases.csv", "accuracy_curves.csv", "hippocampus_3d_fullres_cases.csv"}
"""Tables whose rows name a training of accuracy_runs.csv."""


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


def test_a_table_has_its_origin_beside_it(tmp_path: Path) -> None:
    common.keep_origin(tmp_path / "table.csv", "torch")
    content = json.loads((tmp_path / "table.json").read_text())
    assert set(content) == {"date", "command", "machine", "versions"}
    assert content["versions"]["torch"]


def test_every_table_of_results_says_where_it_comes_from() -> None:
    results = Path(common.__file__).parent / "results"
    for table in results.glob("*.csv"):
        with table.open(encoding="utf-8") as file:
            columns = file.readline().strip().split(",")
        told = {"command", "versions", "date"} <= set(columns) or table.with_suffix(".json").is_file()
        assert told or table.name in OF_RUNS, table.name
