"""The main job on several devices: two nodes on this computer, then two processes, then one."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from segfw.__main__ import main
from tests.demo_job import TINY

pytestmark = pytest.mark.slow

CHANGED = ("folds", "trainer.max_epochs")
COMMAND = [argument for argument in TINY if not argument.startswith(CHANGED)]
STAGES = "stages=[fingerprint,plan,preprocess,train]"


def on_two_nodes(arguments: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run the program under one torchrun for each of two nodes, which share this computer and its files."""
    with socket.socket() as place:
        place.bind(("localhost", 0))
        port = place.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    meeting = ["--master-addr=localhost", f"--master-port={port}"]
    nodes = [
        subprocess.Popen(
            [*launcher, *meeting, f"--node-rank={node}", "-m", "segfw", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for node in range(2)
    ]
    said = [node.communicate(timeout=600)[0] for node in nodes]
    return [subprocess.CompletedProcess(n.args, n.returncode, text) for n, text in zip(nodes, said, strict=True)]


def test_a_run_goes_from_nodes_to_devices_to_one_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    roots = [f"data_root={tmp_path / 'data'}", f"output_root={tmp_path / 'out'}"]
    nodes = on_two_nodes([*COMMAND, *roots, STAGES, "folds=[0,1]", "trainer.max_epochs=1", "trainer.num_nodes=2"])
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(node.stdout for node in nodes)
    assert "fold 1: 16 training and 4 validation cases, 1 epoch, on 2 x CPU" in nodes[0].stdout
    assert "wrote" not in nodes[1].stdout
    output = tmp_path / "out" / "Demo"
    runs = [output / "runs/main/default/planned/3d_fullres" / f"fold_{fold}" for fold in range(2)]
    assert [yaml.safe_load((run / "done.yaml").read_text())["epochs"] for run in runs] == [1, 1]
    assert not list((output / ".ranks").iterdir())
    assert len(list((output / "logs").iterdir())) == 1

    command = [*COMMAND, *roots, "stages=train", "folds=0", "trainer.max_epochs=2"]
    assert main([*command, "trainer.devices=3"]) == 2
    assert "batches of 2, which cannot be shared by 3 devices" in capfd.readouterr().err
    assert main([*command, "trainer.devices=2"]) == 0
    assert "1 of 2 epochs done, on 2 x CPU" in capfd.readouterr().out
    assert len((runs[0] / "metrics.csv").read_text().splitlines()) == 3
    assert not [*runs[0].glob(".fold_files*"), *runs[0].glob(".call*"), *runs[0].glob(".answer*")]
    done = yaml.safe_load((runs[0] / "done.yaml").read_text())
    assert done["machine"].startswith("2 x CPU")
    assert 0.05 < done["peak_memory_gb"] < 64
    assert main(command) == 0
    assert "nothing to do, it is finished" in capfd.readouterr().out
