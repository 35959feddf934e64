"""A training by two nodes on this computer, as srun and as torchrun start it, of which one is lost.

Nodes are simulated: a process (for torchrun with its agent) each, which meet on the loopback.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from segfw.__main__ import main
from segfw.training.checkpoints import network_weights
from tests.stages.test_executor import comes_true
from tests.stages.tiny_dataset import make

pytestmark = pytest.mark.slow

SIZES = (
    *("configurations=[3d_fullres]", "folds=0", "split.num_folds=3", "plan.features_per_stage=[4]"),
    *("plan.batch_size=2", "trainer.max_epochs=3", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"),
    *("trainer.accelerator=cpu", "trainer.threads=1", "inference.mirror=false", "executor.workers=0", "data.workers=0"),
)
RUN = "Tiny/runs/main/default/planned/3d_fullres/fold_0"
LAST = f"{RUN}/checkpoints/last.ckpt"
Start = Callable[..., list["subprocess.Popen[str]"]]


class Hold(Callback):
    """Stay before the second step of the second epoch for as long as there is a file `hold` in `folder`."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == 1 and (self.folder / "hold").exists():
            (self.folder / str(trainer.global_rank)).write_text(f"{os.getpid()} {os.getppid()}")
            comes_true(lambda: not (self.folder / "hold").exists(), 120)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset in `data`, preprocessed in `prepared`."""
    folder = tmp_path_factory.mktemp("nodes")
    make(folder / "data" / "Tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segfw.core.planning.fingerprint.TOTAL_SAMPLES", 2000)
        assert main([*words(folder, "prepared"), "stages=[fingerprint,plan,preprocess]"]) == 0
    return folder


def words(root: Path, output: str) -> list[str]:
    hold = f"+callbacks.hold={{_target_: {__name__}.Hold, folder: '{root}'}}"
    task = ("task.name=Tiny", "task.folder=Tiny", f"data_root={root / 'data'}", f"output_root={root / output}")
    return [*SIZES, *task, hold, "trainer.precision=32-true"]  # whose rounding leaves what is compared alone


@pytest.fixture(scope="module")
def start(root: Path) -> Iterator[Start]:
    """Start the training in a copy of what is prepared on two nodes; end in any case what has been started."""
    started: list[subprocess.Popen[str]] = []

    def begin(output: str, launchers: list[list[str]], environments: list[dict[str, str]]) -> list[Any]:
        if not (root / output).exists():
            shutil.copytree(root / "prepared", root / output)
        command = ["-m", "segfw", *words(root, output), "stages=train", "trainer.num_nodes=2"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "TORCHELASTIC_"))}
        nodes = [
            subprocess.Popen(
                [sys.executable, *launcher, *command],
                env={**kept, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                start_new_session=True,
            )
            for launcher, environment in zip(launchers, environments, strict=True)
        ]
        started.extend(nodes)
        return nodes

    yield begin
    for node in started:
        if node.poll() is None:
            node.kill()
            node.wait()


def as_srun_does(start: Start, output: str) -> list["subprocess.Popen[str]"]:
    """Give each of two tasks the variables that SLURM 22.05 gives it."""
    both = {
        **{"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"},
        **{"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_STEP_NODELIST": "n[1-2]"},
        **{"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"},
    }
    own = [{"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0"} for rank in range(2)]
    return start(output, [[], []], [{**both, **each} for each in own])


def under_torchrun(start: Start, output: str) -> list["subprocess.Popen[str]"]:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    return start(output, [["-m", "torch.distributed.run", *meeting]] * 2, [{}, {}])


def ended(nodes: list["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """Return status and words of each."""
    said = [node.communicate(timeout=180)[0] for node in nodes]
    return [(node.returncode, text) for node, text in zip(nodes, said, strict=True)]


@pytest.fixture(scope="module")
def undisturbed(start: Start) -> list[tuple[int, str]]:
    """What two tasks of srun say of the training in `srun`."""
    return ended(as_srun_does(start, "srun"))


def test_two_tasks_of_srun_train_like_one_device(root: Path, undisturbed: list[tuple[int, str]]) -> None:
    (first, said), (second, whispered) = undisturbed
    assert (first, second) == (0, 0), said + whispered
    assert "2 training and 1 validation case, 3 epochs, on 2 x CPU" in said
    assert whispered == ""
    assert not list((root / "srun/Tiny/.ranks").iterdir())
    assert len(list((root / "srun/Tiny/logs").iterdir())) == len(list((root / "prepared/Tiny/logs").iterdir())) + 1
    shutil.copytree(root / "prepared", root / "alone")
    assert main([*words(root, "alone"), "stages=train"]) == 0
    assert files(root / "alone" / RUN) == files(root / "srun" / RUN) - {"validation/.scored-1.json"}
    alone, shared = network_weights(root / "alone" / LAST), network_weights(root / "srun" / LAST)
    assert all(torch.allclose(shared[name], alone[name], rtol=1e-3, atol=1e-5) for name in alone)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_lost_node_ends_the_other_and_the_same_command_goes_on(
    root: Path, undisturbed: list[tuple[int, str]], start: Start
) -> None:
    (root / "hold").touch()
    nodes = under_torchrun(start, "torchrun")
    told = [root / str(rank) for rank in range(2)]
    assert comes_true(lambda: all(path.exists() and path.read_text() for path in told), 120)
    lost, other = ([int(word) for word in path.read_text().split()] for path in told)  # rank 0's node, and rank 1's
    for pid in reversed(lost):
        os.kill(pid, signal.SIGKILL)
    (root / "hold").unlink()
    begun = time.monotonic()
    (survivor,) = (node for node in nodes if node.pid == other[1])
    ((status, said),) = ended([survivor])
    assert status == 1
    assert "segfw: rank 1 of 2 stops because another one has ended" in said
    assert time.monotonic() - begun < 60

    assert [status for status, _ in ended(under_torchrun(start, "torchrun"))] == [0, 0]
    log = (root / "torchrun" / RUN / "train.log").read_text()
    assert "1 of 3 epochs done" in log
    assert log.count("epoch 1/3  loss") == log.count("epoch 2/3  loss") == 1
    ours, theirs = network_weights(root / "torchrun" / LAST), network_weights(root / "srun" / LAST)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert files(root / "torchrun" / RUN) == files(root / "srun" / RUN)
