"""Preparation of datasets: segfw beside nnU-Net, on the same files, in turn.

python scripts/benchmarks/preprocess.py [--data FOLDER] [--peer-python PATH] [--quick] [--results FOLDER]

hippocampus, acdc: fingerprint, plan and preprocessed 2d and 3d_fullres of real cases (Task04 and ACDC of `--data`), by
each program's own command with two processes. ct: one made CT of 300 x 512 x 512 voxels with 24 labels, 1.0 x 0.8 x 0.8
mm to 1.5 mm, one process: read, preprocess, save. Both sides' arrays are compared. The last line is one JSON object:
`..._cpu_seconds`, `..._peak_memory` and `..._seconds` are ratios ours / theirs, smaller is better; without
`--peer-python` they are our own seconds and bytes (`..._ours`).
"""

import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from common import Peer, Turns, Usage, arguments, child, lay_out, machine, ratio, take_turns, tell, versions

from segfw import load_dataset, make_plan
from segfw.core.cases.dataset import Dataset
from segfw.core.labels import LabelSet
from segfw.core.plan import Fingerprint, IntensityStatistics
from segfw.data.store import Store
from segfw.interop.nnunet import write_plans

HERE = Path(__file__).parent
FIGURES = {"cpu_seconds": "cpu", "peak_memory": "peak", "seconds": "wall"}
SETS = {"hippocampus": ("Task04_Hippocampus", 904), "acdc": ("Dataset027_ACDC", 927)}
WORKERS = "2"
COMPARED = 2  # cases of each set whose arrays are compared
CT_SHAPE, CT_SPACING, CT_LABELS = (300, 512, 512), (1.0, 0.8, 0.8), 24
CT_TOLERANCE = 1e-3  # of the largest value; ours resamples in single precision, theirs in double
CT_NAME = "ct"


def prepare_ours(raw: Path, output: Path) -> Usage:
    """Run our stages up to preprocessing, from nothing."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "segfw", f"task.name={raw.name}", f"task.folder={raw.absolute()}"]
    command += [f"output_root={output}", "stages=[fingerprint,plan,preprocess]", f"executor.workers={WORKERS}"]
    return child([*command, "configurations=[2d,3d_fullres]"])()


def prepare_theirs(peer: Peer, raw: Path, number: int) -> Usage:
    """Run nnU-Net's own command for the same, from nothing."""
    shutil.rmtree(peer.preprocessed(raw.name), ignore_errors=True)
    command = peer.command("nnUNetv2_plan_and_preprocess", "-d", str(number), "-c", "2d", "3d_fullres")
    return child([*command, "-np", WORKERS, WORKERS, "-npfp", WORKERS], peer.environment)()


def compare_set(peer: Peer, raw: Path, output: Path) -> float:
    """Return the largest difference of image voxels between our store and theirs; labels must be equal."""
    ours = [Store.open(path) for path in sorted((output / raw.name / "preprocessed").iterdir())]
    largest = 0.0
    for configuration in ("2d", "3d_fullres"):
        folder = peer.preprocessed(raw.name) / f"nnUNetPlans_{configuration}"
        for name in ours[0].cases[:COMPARED]:
            image, label = load_theirs(peer, folder / name)
            fits = [store for store in ours if store.image(name).shape == image.shape]
            alike = [store for store in fits if np.array_equal(store.label(name), label)]
            if not alike:
                raise RuntimeError(f"{configuration} {name}: labels or shapes differ from {folder}")
            largest = max(largest, min(float(np.abs(store.image(name) - image).max()) for store in alike))
    return largest


def load_theirs(peer: Peer, truncated: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a case that nnU-Net has saved, through its own environment."""
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary, "case.npz")
        child([str(peer.python), str(HERE / "preprocess_peer.py"), "export", str(truncated), str(target)])()
        with np.load(target) as arrays:
            return arrays["image"], arrays["label"]


def make_ct(folder: Path) -> None:
    """Write a CT-like volume, 24 organs of different sizes, and nnU-Net's plans for it, which both sides follow."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    label = np.zeros(CT_SHAPE, np.uint8)
    grid = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in CT_SHAPE), indexing="ij", sparse=True)
    for value in range(1, CT_LABELS + 1):
        center = [generator.uniform(0.25, 0.75) * size for size in CT_SHAPE]
        radii = [generator.uniform(0.04, 0.15) * size for size in CT_SHAPE]
        label[sum(((x - c) / r) ** 2 for x, c, r in zip(grid, center, radii, strict=True)) < 1] = value
    body = sum(((x - s / 2) / (0.45 * s)) ** 2 for x, s in zip(grid[1:], CT_SHAPE[1:], strict=True)) < 1
    image = np.where(body, 40 + 2 * label + 25 * generator.standard_normal(CT_SHAPE, np.float32), -1000)
    for name, array in (("image", image.astype(np.int16)), ("label", label)):
        written = sitk.GetImageFromArray(array)
        written.SetSpacing(CT_SPACING[::-1])
        sitk.WriteImage(written, str(folder / f"{name}.nii.gz"), useCompression=True, compressionLevel=1)
    values = {"background": 0, **{f"organ_{value}": value for value in range(1, CT_LABELS + 1)}}
    dataset = Dataset("Dataset900_CT", ("CT",), LabelSet(values), 100)
    statistics = IntensityStatistics(60, 60, 30, -1000, 300, 150, -50)
    fingerprint = Fingerprint((CT_SPACING,), (CT_SHAPE,), (statistics,), 1.0)
    write_plans(make_plan(dataset, fingerprint, target_spacing=(1.5, 1.5, 1.5)), folder / "plans.json")
    description = {"channel_names": {"0": "CT"}, "labels": values, "numTraining": 100, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def compare_ct(peer: Peer, folder: Path) -> float:
    """Return the largest difference of the CT's voxels, as a share of the largest value; few labels may differ."""
    image, label = load_theirs(peer, folder / "theirs" / CT_NAME)
    ours, ours_label = (np.load(folder / "ours" / f"{CT_NAME}.{kind}.npy") for kind in ("image", "label"))
    share = float(np.abs(ours - image).max() / np.abs(image).max())
    if share > CT_TOLERANCE or (differing := int((ours_label != label).sum())) > label.size * 1e-6:
        raise RuntimeError(f"the CT differs: {share:.2g} of the largest value, {differing} voxels of the label map")
    return share


def main() -> None:
    """Measure every piece of work and tell the outcome."""
    options = arguments(__doc__ or "").parse_args()
    repeats, most = (1, 60) if options.quick else (3, None)
    about = {"machine": machine(), "versions": versions("segfw", "numpy", "scipy", "SimpleITK", "torch")}
    works: dict[str, list[Turns]] = {}
    with tempfile.TemporaryDirectory(prefix="segfw-benchmark-") as temporary:
        root = Path(temporary)
        peer = Peer(options.peer_python.absolute(), root) if options.peer_python else None
        for name, (folder, number) in SETS.items():
            if options.data is None or not (options.data / folder).is_dir():
                print(f"{name}: skipped, there is no {folder} in --data", flush=True)
                continue
            raw = root / "raw" / f"Dataset{number}_{name}"
            lay_out(load_dataset(options.data / folder), most, raw)
            theirs = partial(prepare_theirs, peer, raw, number) if peer else None
            works[name] = [take_turns(partial(prepare_ours, raw, root / "out"), theirs, repeats)]
            difference = compare_set(peer, raw, root / "out") if peer else None
            describe(name, works[name], difference)
        ct = root / "ct"
        make_ct(ct)
        run = [sys.executable, str(HERE / "preprocess_case.py"), str(ct), CT_NAME]
        rival = [str(peer.python), str(HERE / "preprocess_peer.py"), "case", str(ct), CT_NAME] if peer else None
        works["ct"] = [take_turns(child(run), child(rival, peer.environment) if peer and rival else None, repeats)]
        describe("ct", works["ct"], compare_ct(peer, ct) if peer else None)
    if options.peer_python:
        outcome = {f"{name}_{key}": ratio(turns, of) for name, turns in works.items() for key, of in FIGURES.items()}
    else:
        outcome = {
            f"{name}_{key}_ours": sum(work.least("ours", of) for work in turns)
            for name, turns in works.items()
            for key, of in FIGURES.items()
        }
    tell("preprocess", outcome, works, about, options.results)


def describe(name: str, works: list[Turns], difference: float | None) -> None:
    """Print a line on one piece of work."""
    sides = [side for side in ("ours", "theirs") if getattr(works[0], side)]
    shown = [
        f"{side} {works[0].least(side, 'wall'):.1f} s, {works[0].least(side, 'cpu'):.1f} processor s, "
        f"{works[0].least(side, 'peak') / 2**30:.2f} GB"
        for side in sides
    ]
    same = "" if difference is None else f"; arrays differ by at most {difference:.2g}, labels are equal"
    print(f"{name}: {'; '.join(shown)}{same}", flush=True)


if __name__ == "__main__":
    main()
