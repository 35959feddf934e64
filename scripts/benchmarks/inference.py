"""Inference: segfw beside nnU-Net, the same model and the same logits, in turn, on the processor.

python scripts/benchmarks/inference.py [--data FOLDER --model FOLDER] [--peer-python PATH] [--quick] [--results FOLDER]

predict: the 20 Hippocampus images (Task04 of `--data`) that the model's validation names, else the first 20, with
`--model`, a trained model of nnU-Net's, which is imported before; mirrored, steps of half a window, as many threads as
cores, each program from its start to its end. nnU-Net does it with three processes before and after, its default, and
without any; the better of the two counts, for time and for memory. export: float16 logits at 1.5 mm (200 x 273 x 273)
to a label map of 300 x 512 x 512 at 1.0 x 0.8 x 0.8 mm, 25 classes by both, 105 by us alone: nnU-Net needs about 33 GB.
Memory is that of all processes, for exports without the logits themselves. The last line is one JSON object:
`predict_seconds`, `predict_peak_memory`, `export_25_cpu_seconds` and `export_25_peak_memory` are ratios ours / theirs,
smaller is better; without `--peer-python` they are our own (`..._ours`), as are `export_105_cpu_seconds_ours` and
`export_105_peak_memory_gb_ours` (10^9 bytes) always.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from common import Peer, Turns, Usage, arguments, child, machine, take_turns, tell, versions
from numpy.typing import NDArray

from segfw import load_dataset, make_plan
from segfw.core.cases.dataset import Dataset
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.interop.nnunet import write_plans

HERE = Path(__file__).parent
TASK, CASES = "Task04_Hippocampus", 20
SHAPE, SPACING, GRID, TARGET = (300, 512, 512), (1.0, 0.8, 0.8), (200, 273, 273), 1.5
COMPARED, LARGE = 25, 105
COARSE = (9, 12, 12)  # samples of the random fields that logits are made of
TIE = 2.0**-6  # two float16 steps of the largest logits, about 8
PROCESSES = (3, 0)  # nnU-Net's default, and its sequential way


@dataclass(frozen=True)
class Bench:
    """Where things lie, and the rival if there is one."""

    root: Path
    peer: Peer | None
    threads: int
    repeats: int  # of predictions; exports, told by processor seconds, run once

    def theirs(self, *words: str | Path | int) -> Callable[[], Usage]:
        """Return a run of nnU-Net's side."""
        assert self.peer is not None
        command = [str(self.peer.python), str(HERE / "inference_peer.py"), *map(str, words), str(self.threads)]
        return child(command, self.peer.environment)


def choose_cases(model: Path, names: Sequence[str]) -> list[str]:
    """Return the first cases of `names` that the model was validated on; the first of all if too few are known."""
    known: set[str] = set()
    for summary in sorted(model.glob("fold_*/validation/summary.json")):
        for case in json.loads(summary.read_text())["metric_per_case"]:
            known.add(Path(case["reference_file"]).name.partition(".")[0])
    unseen = [name for name in names if name in known]
    return (unseen if len(unseen) >= CASES else list(names))[:CASES]


def lay_out_images(data: Path, model: Path, folder: Path) -> list[str]:
    """Link the images under nnU-Net's names and return their cases."""
    dataset = load_dataset(data / TASK)
    images = {case.name: case.images[0] for case in dataset.cases}
    chosen = choose_cases(model, sorted(images))
    folder.mkdir(parents=True)
    for name in chosen:
        (folder / f"{name}_0000{dataset.file_ending}").symlink_to(Path(images[name]).absolute())
    return chosen


def measure_prediction(bench: Bench, data: Path, model: Path) -> dict[str, Turns]:
    """Predict with both programs; by nnU-Net's number of processes, ours the same in each."""
    source, ours = bench.root / "images", bench.root / "predicted"
    names = lay_out_images(data, model, source)
    command = [sys.executable, "-m", "segfw"]
    logs = f"hydra.run.dir={bench.root / 'logs'}"
    child([*command, "import", f"source={model}", f"output={bench.root / 'model'}", logs])()
    job = ["predict", f"model={bench.root / 'model'}", f"input={source}", f"output={ours}", logs, "accelerator=cpu"]

    def anew(folder: Path, run: Callable[[], Usage]) -> Usage:
        shutil.rmtree(folder, ignore_errors=True)
        return run()

    run = partial(anew, ours, child([*command, *job, f"threads={bench.threads}"]))
    if bench.peer is None:
        turns = take_turns(run, None, bench.repeats)
        describe("predict", turns)
        return {"predict": turns}
    works = {}
    for processes in PROCESSES:
        output = bench.root / f"theirs_{processes}"
        rival = bench.theirs("predict", model.absolute(), source, output, processes)
        works[f"predict, {processes} processes"] = take_turns(run, partial(anew, output, rival), bench.repeats)
        describe(f"predict, {processes} processes", works[f"predict, {processes} processes"])
        print(count_differences(ours, output, names), flush=True)
    return works


def count_differences(ours: Path, theirs: Path, names: Sequence[str]) -> str:
    """Tell how many voxels two folders of label maps have otherwise."""
    differing = total = 0
    for name in names:
        pair = [sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.nii.gz"))) for folder in (ours, theirs)]
        differing, total = differing + int((pair[0] != pair[1]).sum()), total + pair[0].size
    return f"{len(names)} cases: {differing} of {total} voxels differ"


def make_logits(folder: Path, heads: int, grid: tuple[int, ...] = GRID) -> None:
    """Write `heads` smooth random fields as float16, and what leads back to the image.

    The first `COMPARED` of them serve as a smaller case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    with (folder / "logits.raw").open("wb") as file:
        for _ in range(heads):
            coarse = 2 * torch.randn(1, 1, *COARSE, generator=generator)
            field = torch.nn.functional.interpolate(coarse, grid, mode="trilinear", align_corners=True)
            file.write(field[0, 0].half().numpy().tobytes())
    (folder / "case.json").write_text(json.dumps({"grid": grid, "shape": SHAPE, "spacing": SPACING}))


def write_plan(folder: Path, heads: int) -> None:
    """Write nnU-Net's plans and description of a CT set of `heads` classes, which both sides read."""
    folder.mkdir(parents=True)
    values = {"background": 0, **{f"organ_{value}": value for value in range(1, heads)}}
    dataset = Dataset("Dataset900_CT", ("CT",), LabelSet(values), 100)
    statistics = IntensityStatistics(60, 60, 30, -1000, 300, 150, -50)
    fingerprint = Fingerprint((SPACING,), (SHAPE,), (statistics,), 1.0)
    write_plans(make_plan(dataset, fingerprint, target_spacing=(TARGET,) * 3), folder / "plans.json")
    description = {"channel_names": {"0": "CT"}, "labels": values, "numTraining": 100, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def measure_export(bench: Bench, heads: int, compared: bool) -> Turns:
    """Export the case with `heads` classes; the peaks are those above the logits."""
    folder = bench.root / "export"
    write_plan(folder / str(heads), heads)
    command = [sys.executable, str(HERE / "inference_case.py"), str(folder), str(heads), str(bench.threads)]
    rival = bench.theirs("export", folder, heads) if compared else None
    turns = take_turns(child(command), rival, 1)
    size = heads * int(np.prod(GRID)) * 2
    return Turns(*(tuple(replace(use, peak=use.peak - size) for use in side) for side in (turns.ours, turns.theirs)))


def compare_export(folder: Path, heads: int) -> str:
    """Tell how many voxels differ; `RuntimeError` if one of them is no tie."""
    ours, theirs = (np.load(folder / f"{side}_{heads}.npy", mmap_mode="r") for side in ("ours", "theirs"))
    places = np.argwhere(ours != theirs)
    logits = np.memmap(folder / "logits.raw", np.float16, "r", shape=(heads, *GRID))
    where = tuple(places.T)
    gaps = np.abs(
        interpolate(logits, np.asarray(ours[where]), places, SHAPE)
        - interpolate(logits, np.asarray(theirs[where]), places, SHAPE)
    )
    largest = float(gaps.max(initial=0.0))
    if largest > TIE:
        raise RuntimeError(f"{heads} classes: a voxel differs whose two logits are {largest:.3g} apart")
    return f"{heads} classes: {len(places)} of {ours.size} voxels differ, their two logits by at most {largest:.2g}"


def interpolate(
    logits: NDArray[np.float16], heads: NDArray[np.integer], places: NDArray[np.integer], shape: Sequence[int]
) -> NDArray[np.float64]:
    """Return logit `heads[i]` at voxel `places[i]` of a grid of `shape`, linear between voxel centers, in float64."""
    result = np.zeros(len(places))
    scale = np.array(logits.shape[1:]) / np.array(shape)
    last = np.array(logits.shape[1:]) - 1
    positions = np.clip((places + 0.5) * scale - 0.5, 0, last)
    low = np.minimum(positions.astype(np.int64), np.maximum(last - 1, 0))
    weight = positions - low
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(np.array(corner) == 1, weight, 1 - weight), axis=1)
        index = np.minimum(low + np.array(corner), last)
        result += share * logits[(heads, *index.T)].astype(np.float64)
    return result


def best_rival(works: Sequence[Turns]) -> Turns:
    """Return all our runs beside all of nnU-Net's, whichever way it took, of which the least count."""
    return Turns(sum((each.ours for each in works), ()), sum((each.theirs for each in works), ()))


def summarize(predictions: Sequence[Turns], small: Turns, large: Turns, compared: bool) -> dict[str, float]:
    """Return the contract's figures; without predictions those of the exports."""
    parts = {"export_25_cpu_seconds": (small, "cpu"), "export_25_peak_memory": (small, "peak")}
    if predictions:
        both = best_rival(predictions)
        parts = {"predict_seconds": (both, "wall"), "predict_peak_memory": (both, "peak"), **parts}
    own = {
        "export_105_cpu_seconds_ours": large.least("ours", "cpu"),
        "export_105_peak_memory_gb_ours": large.least("ours", "peak") / 1e9,
    }
    if compared:
        ratios = {key: turns.least("ours", of) / turns.least("theirs", of) for key, (turns, of) in parts.items()}
        return {**ratios, **own}
    return {**{f"{key}_ours": turns.least("ours", of) for key, (turns, of) in parts.items()}, **own}


def describe(name: str, turns: Turns) -> None:
    """Print a line on one piece of work."""
    sides = [side for side in ("ours", "theirs") if getattr(turns, side)]
    shown = [
        f"{side} {turns.least(side, 'wall'):.1f} s, {turns.least(side, 'cpu'):.1f} processor s, "
        f"{turns.least(side, 'peak') / 1e9:.2f} GB"
        for side in sides
    ]
    print(f"{name}: {'; '.join(shown)}", flush=True)


def main() -> None:
    """Measure every piece of work and tell the outcome."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", type=Path, help="folder of a model of Task04 that nnU-Net has trained")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    about = {"machine": machine(), "versions": versions("segfw", "numpy", "torch", "SimpleITK"), "threads": threads}
    works: dict[str, Turns] = {}
    with tempfile.TemporaryDirectory(prefix="segfw-benchmark-") as temporary:
        root = Path(temporary)
        peer = Peer(options.peer_python.absolute(), root) if options.peer_python else None
        bench = Bench(root, peer, threads, 2 if options.quick else 4)
        if options.model is not None and options.data is not None and (options.data / TASK).is_dir():
            works = measure_prediction(bench, options.data, options.model)
        else:
            print(f"predict: skipped, it needs --model and {TASK} in --data", flush=True)
        predictions = list(works.values())
        make_logits(root / "export", LARGE)
        small = works["export of 25"] = measure_export(bench, COMPARED, peer is not None)
        describe("export of 25 classes", small)
        if peer is not None:
            print(compare_export(root / "export", COMPARED), flush=True)
        large = works["export of 105"] = measure_export(bench, LARGE, False)
        describe("export of 105 classes", large)
    outcome = summarize(predictions, small, large, peer is not None)
    tell("inference", outcome, {name: [turns] for name, turns in works.items()}, about, options.results)


if __name__ == "__main__":
    main()
