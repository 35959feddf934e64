"""What each step costs as cases, voxels, labels and processes grow: time, memory, files and lines, with exponents.

    python scripts/benchmarks/scaling.py --axis cases --results scripts/benchmarks/results --pictures docs/pictures

The program itself on synthetic data, each step in a process of its own, its children counted with it. Only two things
are left to a stand-in: `claim`, which puts empty files in the place of segmentations, and the logits of `restore`.
Processor seconds are what is judged, for other work on the machine disturbs them least. With `--peer-python` nnU-Net's
fingerprint, plan and preprocessing follow on the same cases, also with two processes; the last line printed has what
our steps take, as a share of theirs, at the largest size.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

from scripts.benchmarks.common import Peer, arguments, child, machine, signed, versions
from scripts.benchmarks.scaling_curves import Point, draw, load_points, save_points, table, told
from scripts.benchmarks.scaling_sets import make_cases, make_volumes, name_of

ROOT = Path(__file__).parents[2]
SAMPLING = 0.2
MOST_MEMORY = 12e9
"""Bytes: a volume that would take more is left out."""
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
BESIDE = "cases, nnU-Net"
"""Axis of the points that `their_cases` measures."""
SEGMENTED = 0.999
"""Share of the images that `predict` finds segmented; the network does the others."""
ALL = "stages=[fingerprint,plan,preprocess,train,select,report]"
TINY = (
    *("plan.patch_size=[8,8,8]", "plan.features_per_stage=[4,4]", "plan.batch_size=2", "configurations=[3d_fullres]"),
    *("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "folds=[0,1]"),
    *("trainer.accelerator=cpu", "inference.mirror=false", "inference.step_size=1", "data.workers=0"),
)


@dataclass(frozen=True)
class Axis:
    """Sizes, what they count, and what measures one size (and knows of the points so far)."""

    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    unit: str
    measure: Callable[[int, Path, list[Point]], Iterator[Point]]


def step(axis: str, size: float, name: str, words: list[str], folder: Path) -> Point:
    """Run Python with `words` and say what it took; its lines and files are counted below `folder`."""
    return run_step(axis, size, name, [sys.executable, *words], folder, {"PYTHONPATH": str(ROOT)})


def run_step(
    axis: str, size: float, name: str, command: list[str], folder: Path, environment: Mapping[str, str]
) -> Point:
    """Run a command and say what it took; its lines and files are counted below `folder`."""
    before, said = _count(folder), folder.parent / "said.txt"
    silenced = ["sh", "-c", f'exec "$0" "$@" > {said} 2>&1', *command]
    try:
        usage = child(silenced, {**THREADS, **environment}, SAMPLING)()
    except RuntimeError as error:
        raise RuntimeError(f"{name} at {size:g}: {error}\n{said.read_text(encoding='utf-8')[-4000:]}") from error
    lines = len(said.read_text(encoding="utf-8").splitlines())
    files = _count(folder) - before
    point = Point(axis, size, name, round(usage.wall, 2), round(usage.cpu, 2), round(usage.peak / 1e6, 1), files, lines)
    print(
        f"{axis} {size:g} {name}: {usage.cpu:.1f} s of processors, {usage.wall:.1f} s, {point.peak_mb:.0f} MB, "
        f"{files} files, {lines} lines",
        flush=True,
    )
    return point


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def program(folder: Path, *words: str) -> list[str]:
    """Return the words of a command on the dataset in `folder`/data."""
    task = (f"task.name={folder.name}", f"task.folder={folder / 'data'}", f"output_root={folder / 'out'}")
    verb = words[:1] if words and "=" not in words[0] else ()
    return ["-m", "segfw", *verb, *task, *words[len(verb) :]]


def work(name: str, folder: Path) -> list[str]:
    """Return the words that do one step of the code alone."""
    return ["-m", "scripts.benchmarks.scaling_work", name, str(folder)]


def many_cases(size: int, folder: Path, known: list[Point]) -> Iterator[Point]:
    """Measure every step on `size` cases, with two processes where a step has any."""
    make_cases(folder / "data", size)
    two = "executor.workers=2"
    alone = {"list": "list", "list again": "list", "folds": "divide", "mean scores": "average", "claim": "claim"}
    for name, doing in alone.items():
        yield step("cases", size, name, work(doing, folder), folder)
    stages = {
        "verify": ("verify", two),
        "fingerprint": (*TINY, "stages=[fingerprint]", two),
        "plan": (*TINY, "stages=[plan]"),
        "preprocess": (*TINY, "stages=[preprocess]", two),
        "train, 2 folds": (*TINY, "stages=[train]", two),
        "select": (*TINY, "stages=[select]", two),
        "report": (*TINY, "stages=[report]", two),
        "status": ("status", *TINY),
        "dry run": (*TINY, ALL, "dry_run=true"),
        "all again": (*TINY, ALL, two),
    }
    for name, words in stages.items():
        yield step("cases", size, name, program(folder, *words), folder)
    labels = folder / "data/labelsTr"
    scores = (f"predictions={labels}", f"references={labels}", f"output={folder / 'scores.json'}", two)
    yield step("cases", size, "evaluate", ["-m", "segfw", "evaluate", *scores], folder)
    output = folder / "predicted"
    output.mkdir()
    for case in range(round(size * SEGMENTED)):
        os.link(labels / f"{name_of(case)}.nii.gz", output / f"{name_of(case)}.nii.gz")
    model = folder / "out" / folder.name / "models/main"
    words = [f"model={model}", f"input={folder / 'data/imagesTr'}", f"output={output}", "accelerator=cpu"]
    yield step("cases", size, "predict", ["-m", "segfw", "predict", *words], folder)


def their_cases(size: int, folder: Path, peer: Peer) -> Iterator[Point]:
    """Measure what nnU-Net does with `size` cases before it trains, with two processes where a step has any."""
    raw = peer.raw("Dataset901_Scaling")
    raw.parent.mkdir(parents=True)
    raw.symlink_to(make_cases(folder / "data", size))
    for path in (peer.preprocessed("."), peer.root / "results"):
        path.mkdir()
    commands = {
        "fingerprint": ("nnUNetv2_extract_fingerprint", "-d", "901", "-np", "2"),
        "plan": ("nnUNetv2_plan_experiment", "-d", "901"),
        "preprocess": ("nnUNetv2_preprocess", "-d", "901", "-c", "3d_fullres", "-np", "2"),
    }
    for name, words in commands.items():
        yield run_step(BESIDE, size, name, peer.command(*words), folder, peer.environment)


def many_voxels(size: int, folder: Path, known: list[Point]) -> Iterator[Point]:
    """Measure one case of `size` voxels; a step that would pass the memory allowed is left out, and told."""
    make_volumes(folder / "data", SHAPES[size], 2)
    for name in ("fingerprint", "preprocess", "restore"):
        before = [point for point in known if point.step == name]
        expected = before[-1].peak_mb * 1e6 * size / before[-1].size if before else 0.0
        if expected > MOST_MEMORY:
            print(f"voxels {size:g} {name}: left out, would take about {expected / 1e9:.0f} GB", flush=True)
            continue
        yield step("voxels", size, name, work(name, folder), folder)


def many_labels(size: int, folder: Path, known: list[Point]) -> Iterator[Point]:
    """Measure one case of 96^3 voxels with `size` labels."""
    make_volumes(folder / "data", (96, 96, 96), size)
    for name in ("fingerprint", "score", "postprocess", "restore"):
        yield step("labels", size, name, work(name, folder), folder)


def many_workers(size: int, folder: Path, known: list[Point]) -> Iterator[Point]:
    """Measure the fingerprint of 1,000 cases with `size` processes."""
    make_cases(folder / "data", WORKERS_CASES[0])
    words = program(folder, *TINY, "stages=[fingerprint]", f"executor.workers={size}")
    yield step("workers", size, "fingerprint", words, folder)


def many_nodes(size: int, folder: Path, known: list[Point]) -> Iterator[Point]:
    """Measure the same with a Ray cluster of `size` simulated nodes of one core."""
    from ray.cluster_utils import Cluster

    make_cases(folder / "data", WORKERS_CASES[0])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(size - 1):
            cluster.add_node(num_cpus=1)
        ray = ("executor=ray", f"executor.address={cluster.address}")
        yield step("nodes", size, "fingerprint", program(folder, *TINY, "stages=[fingerprint]", *ray), folder)
    finally:
        cluster.shutdown()


WORKERS_CASES = [1000]
SHAPES = {
    prod(shape): shape
    for shape in ((64,) * 3, (128,) * 3, (256,) * 3, (256, 512, 512), (512, 512, 512), (1008, 512, 512))
}
AXES = {
    "cases": Axis((10, 100, 1000, 10_000), (10, 20), "cases", many_cases),
    "voxels": Axis(tuple(SHAPES), (64**3, 128**3), "voxels", many_voxels),
    "labels": Axis((2, 10, 50, 100, 200), (2, 10), "labels", many_labels),
    "workers": Axis((0, 1, 2), (0, 1), "processes beside the first", many_workers),
    "nodes": Axis((1, 2), (1,), "simulated nodes", many_nodes),
}


@contextmanager
def scratch(place: Path | None, size: int) -> Iterator[Path]:
    """Yield a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="segfw-scaling-", dir=place) as temporary:
        folder = Path(temporary) / f"n{size}"
        folder.mkdir()
        yield folder


def keep(path: Path, axis: str, about: dict[str, object], rows: list[dict[str, object]]) -> None:
    """Write what was found of an axis beside what is there of the others."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before[axis] = signed({**about, "steps": rows})
    path.write_text(json.dumps(before, indent=1) + "\n", encoding="utf-8")


def measure(name: str, options: argparse.Namespace) -> list[Point]:
    """Measure an axis, and write what is known after each size; return that, of all sizes."""
    axis, points = AXES[name], list[Point]()
    about = {"machine": machine(), "versions": versions("segfw", "torch", "numpy", "SimpleITK")}
    known = points
    for size in axis.quick if options.quick else options.sizes or axis.sizes:
        with scratch(options.scratch, size) as folder:
            for point in axis.measure(size, folder, of_axis(points, name)):
                points.append(point)
        if options.peer_python and name == "cases":
            with scratch(options.scratch, size) as folder:
                points += their_cases(size, folder, Peer(options.peer_python.absolute(), folder / "nnunet"))
        if options.results is not None:
            file = options.results / "scaling.csv"
            save_points(file, points)
            known = load_points(file)
            keep(options.results / "scaling.json", name, about, table(of_axis(known, name)))
            if options.pictures is not None:
                picture = options.pictures / f"scaling_{name}.svg"
                draw(picture, f"cost over {axis.unit}", axis.unit, of_axis(known, name))
    print(told(table(of_axis(known, name))), flush=True)
    return known


def of_axis(points: Sequence[Point], axis: str) -> list[Point]:
    """Return the points of one axis."""
    return [point for point in points if point.axis == axis]


def shares(points: Sequence[Point]) -> dict[str, float]:
    """Return what our steps take of processors, ours / theirs, at the largest size that both were measured at."""
    theirs = {(point.step, point.size): point.cpu for point in of_axis(points, BESIDE)}
    ours = {(point.step, point.size): point.cpu for point in of_axis(points, "cases")}
    both = sorted((size, step) for step, size in ours.keys() & theirs.keys())
    return {f"cases_{step}_cpu_seconds": round(ours[step, size] / theirs[step, size], 3) for size, step in both}


def main() -> None:
    """Measure the axes that are asked for."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--axis", nargs="+", choices=AXES, default=[name for name in AXES if name != "nodes"])
    parser.add_argument("--sizes", type=int, nargs="+", help="of an axis; default: all of it")
    parser.add_argument("--pictures", type=Path, help="folder to draw the results into, as SVG")
    parser.add_argument("--scratch", type=Path, help="folder for what is made and removed again")
    options = parser.parse_args()
    outcome: dict[str, object] = {}
    for name in options.axis:
        known = measure(name, options)
        outcome |= {f"{name}_{row['step']}_exponent": row["cpu_exponent"] for row in table(of_axis(known, name))}
        outcome |= shares(known) if name == "cases" else {}
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
