"""Training: segfw beside nnU-Net, on the same cases, plan, patch and batch, in turn.

python scripts/benchmarks/training.py [--data FOLDER] [--peer-python PATH] [--quick] [--results FOLDER]
                                      [--device cuda] [--precision 32-true]

Cases: the first of Task04 of `--data`, without it made volumes of the same size. Plan: what the planner makes of all of
Task04 (2d: batch 366 of 56 x 40; 3d_fullres: batch 9 of 40 x 56 x 40).
input: reading and the whole augmentation of a batch, in one thread of one process. iterations: training as each
program does it, its own loader included. step: the same without input. On the CPU steps and iterations are those of
3d_fullres with batch 2 and features 16, 32, 64, 128; on a graphics card those of 3d_fullres as planned, and of batch 2
of 128 x 128 x 128. Precision: what either program takes by itself, ours unless `--precision` says another. The last
line is one JSON object: `input_cpu_seconds_per_batch` (the worse of 2d and 3d_fullres), `step_seconds` and
`seconds_per_iteration` on the clock, and `step_cpu_seconds` and `cpu_seconds_per_iteration` of the processor are ratios
ours / theirs, the least of the rounds each, smaller is better; without `--peer-python` our own seconds (`..._ours`).
"""

import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from common import Peer, Turns, Usage, arguments, lay_out, machine, ratio, take_turns, tell, versions
from pytorch_lightning import Callback, Trainer

from segfw import load_dataset, make_plan
from segfw.core.cases.dataset import Dataset
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics, Plan
from segfw.core.settings.schema import InferenceSettings
from segfw.core.settings.training import TrainerSettings
from segfw.data.case_files import commit_store
from segfw.data.store import Store
from segfw.interop.nnunet import write_plans
from segfw.stages.preparation import prepare_case
from segfw.training.datamodule import SegmentationDataModule
from segfw.training.devices import Device, choose_device
from segfw.training.fit import fit_fold
from segfw.training.module import build_module
from segfw.training.run import FULL, FoldRun
from segfw.training.validation import FoldIO

HERE = Path(__file__).parent
TASK, NAME, NUMBER = "Task04_Hippocampus", "Dataset904_hippocampus", 904
SHAPE, LARGE, TASK_CASES = (36, 50, 35), (256, 256, 256), 260
LABELS = LabelSet({"background": 0, "Anterior": 1, "Posterior": 2})
SMALL = {"batch_size": 2, "features_per_stage": (16, 32, 64, 128)}
WARMUP = 3


@dataclass(frozen=True)
class Extent:
    """How much is measured: cases, rounds, and batches per round by kind of work."""

    cases: int
    rounds: int
    counts: Mapping[str, int]


QUICK = Extent(40, 3, {"2d": 4, "3d_fullres": 25, "step": 8, "iterations": 8})
WHOLE = Extent(TASK_CASES, 5, {"2d": 10, "3d_fullres": 100, "step": 20, "iterations": 30})


@dataclass(frozen=True)
class Work:
    """One thing that both sides do: `do` is input, step or iterations; `plan` a file of `Bench.plans`."""

    do: str
    plan: str
    configuration: str
    count: int

    @property
    def name(self) -> str:
        """How it is told."""
        return f"{self.do}, {self.configuration}" if self.do == "input" else f"{self.do}, {self.plan}"


@dataclass(frozen=True)
class Bench:
    """What both sides work on. `plans`: name -> plan, written as root/name.json for nnU-Net."""

    root: Path
    store: Path
    raw: Path
    plans: Mapping[str, Plan]
    device: Device

    def run(self, work: Work) -> FoldRun:
        """Return our training on all cases, one epoch without validation."""
        return FoldRun(
            plan=self.plans[work.plan],
            configuration_name=work.configuration,
            fold=FULL,
            train_cases=Store.open(self.store).cases,
            val_cases=(),
            store=str(self.store),
            trainer=TrainerSettings(
                max_epochs=1,
                limit_train_batches=WARMUP + work.count,
                limit_val_batches=0,
                enable_progress_bar=False,
                compile=self.device.accelerator == "cuda",
            ),
            inference=InferenceSettings(),
        )


def make_plans() -> dict[str, Plan]:
    """Return the plan of the whole task, the small network's, and that of a set of large volumes."""
    dataset = Dataset(NAME, ("MRI",), LABELS, TASK_CASES)
    intensities = (IntensityStatistics(22360.0, 363.0, 60655.0, 0.0, 486420.0, 277682.0, 28.0),)
    planned = make_plan(dataset, Fingerprint(((1.0, 1.0, 1.0),), (SHAPE,), intensities, 1.0))
    large = make_plan(dataset, Fingerprint(((1.0, 1.0, 1.0),), (LARGE,), intensities, 1.0))
    full = planned.configurations["3d_fullres"]
    small = {**planned.configurations, "3d_fullres": replace(full, **SMALL)}
    return {"planned": planned, "small": replace(planned, configurations=small), "large": large}


def make_cases(folder: Path, count: int) -> None:
    """Write `count` made volumes of the task's size with two labels, in nnU-Net's raw layout."""
    rng = np.random.default_rng(0)
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        shape = tuple(int(n + rng.integers(-4, 5)) for n in SHAPE)
        distance = np.sqrt(sum(((x - n / 2) / (n / 5)) ** 2 for x, n in zip(np.indices(shape), shape, strict=True)))
        label = np.where(distance < 1, 1 + (np.indices(shape)[1] > shape[1] / 2), 0).astype(np.uint8)
        image = (100 * label + 50 * rng.standard_normal(shape) + 300).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"made_{number:03d}_0000.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(label), str(folder / "labelsTr" / f"made_{number:03d}.nii.gz"))
    description = {"channel_names": {"0": "MRI"}, "labels": LABELS.values, "numTraining": count}
    (folder / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))


def prepare(options: Any, root: Path, cases: int, device: Device) -> Bench:
    """Lay out the cases and fill our store."""
    raw, store = root / "raw" / NAME, root / "store"
    if options.data is not None and (options.data / TASK).is_dir():
        lay_out(load_dataset(options.data / TASK), cases, raw)
    else:
        print(f"there is no {TASK} in --data: made volumes of its size", flush=True)
        make_cases(raw, cases)
    plans = make_plans()
    for name, plan in plans.items():
        write_plans(plan, root / f"{name}.json")
    store.mkdir()
    for case in load_dataset(raw).cases:
        prepare_case(plans["planned"], {}, (case, {"3d_fullres": store}, {}))
    commit_store(store, {})
    return Bench(root, store, raw, plans, device)


def prepare_theirs(peer: Peer, bench: Bench) -> None:
    """Let nnU-Net preprocess the same files by the same plan; both configurations have one grid here."""
    folder = peer.preprocessed(NAME)
    folder.mkdir(parents=True)
    shutil.copy(bench.root / "planned.json", folder / "nnUNetPlans.json")
    shutil.copy(bench.raw / "dataset.json", folder / "dataset.json")
    command = peer.command("nnUNetv2_preprocess", "-d", str(NUMBER), "-c", "2d", "3d_fullres", "-np", "2", "2")
    done = subprocess.run(command, env={**os.environ, **peer.environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


class Clock(Callback):
    """Note when each step begins and ends; with `wait` what the device still does is waited for first."""

    def __init__(self, wait: bool) -> None:
        self.wait, self.starts, self.ends, self.cpu = wait, [], [], []  # type: ignore[var-annotated]

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Begin a step."""
        self.starts.append(self._now())

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a step."""
        self.ends.append(self._now())

    def _now(self) -> tuple[float, float]:
        if self.wait or len(self.ends) in (WARMUP - 1, WARMUP):
            synchronize()
        return time.perf_counter(), time.process_time()


def synchronize() -> None:
    """Let a graphics card finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def train_ours(bench: Bench, work: Work) -> Usage:
    """Train `work.count` iterations with the program itself; return the seconds of one, or of its step alone."""

    def refuse(*_: object) -> Any:
        raise AssertionError("a training on all cases validates nothing")

    clock = Clock(wait=work.do == "step")
    with tempfile.TemporaryDirectory(dir=bench.root) as folder:
        fit_fold(bench.run(work), Path(folder), bench.device, FoldIO(refuse, refuse), [clock])
    synchronize()
    if work.do == "iterations":
        began, ended, count = clock.ends[WARMUP - 1], clock.ends[-1], work.count
        return Usage(*((late - early) / count for early, late in zip(began, ended, strict=True)))
    steps = list(zip(clock.starts[WARMUP:], clock.ends[WARMUP:], strict=True))
    return Usage(*(sum(late[i] - early[i] for early, late in steps) / len(steps) for i in (0, 1)))


def load_ours(bench: Bench, work: Work) -> Usage:
    """Read and augment `work.count` batches in one thread, as a training on the CPU does; return the seconds of one."""
    run, threads = bench.run(work), torch.get_num_threads()
    cpu = choose_device("cpu", threads=1)
    torch.set_num_threads(1)
    module = build_module(run, cpu)
    module.trainer = trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.training = True
    batches = iter(SegmentationDataModule.of_run(run, cpu).train_dataloader())

    def one() -> None:
        batch = module.on_before_batch_transfer(next(batches), 0)
        module.on_after_batch_transfer(batch, 0)

    for _ in range(WARMUP):
        one()
    began = time.perf_counter(), time.process_time()
    for _ in range(work.count):
        one()
    ended = time.perf_counter(), time.process_time()
    torch.set_num_threads(threads)
    return Usage(*((late - early) / work.count for early, late in zip(began, ended, strict=True)))


class Rival:
    """nnU-Net's process: it loads once and then answers orders."""

    def __init__(self, peer: Peer, bench: Bench) -> None:
        command = [str(peer.python), str(HERE / "training_peer.py"), bench.device.accelerator]
        self.bench, self.errors = bench, tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, **peer.environment}, **pipes)

    def __enter__(self) -> "Rival":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()

    def measure(self, work: Work) -> Usage:
        """Return the seconds per batch; `RuntimeError` with what it said if it has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {
            "do": work.do,
            "plans": str(self.bench.root / f"{work.plan}.json"),
            "dataset": str(self.bench.raw / "dataset.json"),
            "configuration": work.configuration,
            "count": work.count,
            "warmup": WARMUP,
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(f"nnU-Net's side ended with {self.process.wait()}:\n{self.errors.read()[-4000:]}")
        return Usage(**json.loads(answer))


def list_works(extent: Extent, device: str) -> list[Work]:
    """Return what is measured on `device`."""
    works = [Work("input", "planned", name, extent.counts[name]) for name in ("2d", "3d_fullres")]
    plans = ("planned", "large") if device == "cuda" else ("small",)
    return works + [Work(do, plan, "3d_fullres", extent.counts[do]) for do in ("step", "iterations") for plan in plans]


def summarize(works: Mapping[Work, Turns], compared: bool) -> dict[str, float]:
    """Return the contract's figures, and those of the processor."""
    of = {do: [turns for work, turns in works.items() if work.do == do] for do in ("input", "step", "iterations")}

    def figure(turns: list[Turns], field: str) -> float:
        return ratio(turns, field) if compared else sum(each.least("ours", field) for each in turns)

    figures = {
        "input_cpu_seconds_per_batch": max(figure([turns], "cpu") for turns in of["input"]),
        **{"step_seconds": figure(of["step"], "wall"), "seconds_per_iteration": figure(of["iterations"], "wall")},
        **{"step_cpu_seconds": figure(of["step"], "cpu"), "cpu_seconds_per_iteration": figure(of["iterations"], "cpu")},
    }
    return figures if compared else {f"{name}_ours": value for name, value in figures.items()}


def describe(work: Work, turns: Turns) -> None:
    """Print a line on one piece of work."""
    sides = [side for side in ("ours", "theirs") if getattr(turns, side)]
    shown = [f"{side} {turns.least(side, 'wall'):.4f} s, {turns.least(side, 'cpu'):.4f} processor s" for side in sides]
    print(f"{work.name}: {'; '.join(shown)}", flush=True)


def main() -> None:
    """Measure every piece of work and tell the outcome."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where steps are computed")
    parser.add_argument(
        "--precision", default="auto", help="trainer.precision of ours; 32-true is nnU-Net's on the CPU"
    )
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    extent = QUICK if options.quick else WHOLE
    packages = ("segfw", "numpy", "torch", "pytorch-lightning")
    device = choose_device("gpu" if options.device == "cuda" else options.device, options.precision)
    about = {"machine": machine(), "versions": versions(*packages), "threads": torch.get_num_threads()}
    about["precision"] = device.precision
    measured: dict[Work, Turns] = {}
    with tempfile.TemporaryDirectory(prefix="segfw-benchmark-") as temporary, ExitStack() as stack:
        bench = prepare(options, Path(temporary), extent.cases, device)
        rival = None
        if options.peer_python:
            peer = Peer(options.peer_python.absolute(), bench.root)
            prepare_theirs(peer, bench)
            rival = stack.enter_context(Rival(peer, bench))
        for work in list_works(extent, options.device):
            ours: Callable[[Bench, Work], Usage] = load_ours if work.do == "input" else train_ours
            measured[work] = take_turns(
                lambda ours=ours, work=work: ours(bench, work),  # type: ignore[misc]
                (lambda work=work: rival.measure(work)) if rival else None,  # type: ignore[misc, union-attr]
                extent.rounds,
            )
            describe(work, measured[work])
    outcome = summarize(measured, options.peer_python is not None)
    name = "training" if options.precision == "auto" else f"training_{options.precision.replace('-', '_')}"
    tell(name, outcome, {work.name: [turns] for work, turns in measured.items()}, about, options.results)


if __name__ == "__main__":
    main()
