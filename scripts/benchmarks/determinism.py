"""The same command again, in other surroundings: are its results the same to the last bit, and if not, how far apart?

    python scripts/benchmarks/determinism.py --results scripts/benchmarks/results      # where there is a GPU: on it
    python scripts/benchmarks/determinism.py --accelerator cpu --results scripts/benchmarks/results

Trains the demo for a few epochs, from raw images to predictions, in a process of its own for each change.
"""

import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk
import torch

from scripts.benchmarks.common import TINY, arguments, machine, told_command, versions
from segfw.data.store import Store
from segfw.training.checkpoints import network_weights

ROOT = Path(__file__).parents[2]
WORDS = (
    *TINY,
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=3",
    "stages=[fingerprint,plan,preprocess,train,select]",
)
INTERRUPTED = 130
RUN = "runs/main/default/planned/3d_fullres/fold_0"
SHUFFLED = """
import os, random, sys
listdir, scandir = os.listdir, os.scandir
class Shuffled(list):
    def __enter__(self): return self
    def __exit__(self, *error): return None
    def close(self): pass
    def __next__(self): return self.pop()
def mixed(entries):
    found = Shuffled(entries)
    random.Random({seed}).shuffle(found)
    return found
os.listdir = lambda *at: list(mixed(listdir(*at)))
os.scandir = lambda *at: mixed(scandir(*at))
from segfw.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""Runs the program where folders list their files in another order."""
INTERRUPT = "{_target_: scripts.benchmarks.determinism_interruption.InterruptOnce, epoch: 1, mark: interrupted}"


@dataclass(frozen=True)
class Change:
    """What is otherwise: words of the training and of the prediction, environment; whether it is cut after an epoch."""

    train: tuple[str, ...] = ()
    predict: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    shuffles: bool = False
    is_cut: bool = False


CHANGES = {
    "again": Change(),
    "surroundings": Change(
        environment={"PYTHONHASHSEED": "4711", "TZ": "Pacific/Apia", "LC_ALL": "C.UTF-8"}, shuffles=True
    ),
    "workers": Change(("executor.workers=2", "data.workers=2"), ("devices=2",)),
    "interrupted": Change(is_cut=True),
    "deterministic": Change(("deterministic=true",)),
    "threads": Change(("trainer.threads=2",), ("threads=2",)),
}
"""Beside a first run with one thread, without workers, and with a hash seed of 0."""


@dataclass(frozen=True)
class Results:
    """What a run leaves: digests of what each stage has made, weights, and segmentations of the images by name."""

    digests: Mapping[str, str]
    weights: Mapping[str, torch.Tensor]


def program(words: list[str], folder: Path, change: Change) -> int:
    """Run the program in `folder` and return its exit status; raise where it fails for another reason than Ctrl-C."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", **change.environment}
    start = ["-c", SHUFFLED.format(seed=len(words))] if change.shuffles else ["-m", "segfw"]
    done = subprocess.run(
        [sys.executable, *start, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, INTERRUPTED):
        raise RuntimeError(f"{words} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.returncode


def perform(folder: Path, data: Path, accelerator: str, change: Change) -> Results:
    """Train and predict in `folder` with a change, and return what came out."""
    folder.mkdir()
    base = [*WORDS, "executor.workers=0", "data.workers=0", "trainer.threads=1", f"trainer.accelerator={accelerator}"]
    words = [*with_changes(base, change.train), f"data_root={data}", "output_root=out"]
    if change.is_cut:
        words.append(f"+callbacks.cut={INTERRUPT}")
        if program(words, folder, change) != INTERRUPTED:
            raise RuntimeError("the training was not interrupted")
    program(words, folder, change)
    predict = with_changes([f"accelerator={accelerator}", "threads=1"], change.predict)
    places = ["model=out/Demo/models/main", f"input={data / 'Demo/imagesTr'}", "output=segmented"]
    program(["predict", *predict, *places], folder, change)
    return results(folder)


def with_changes(words: list[str], changes: tuple[str, ...]) -> list[str]:
    """Return the words, those of the same keys replaced."""
    keys = {change.partition("=")[0] for change in changes}
    return [word for word in words if word.partition("=")[0] not in keys] + list(changes)


def results(folder: Path) -> Results:
    """Read what a run in `folder` has left."""
    output = folder / "out/Demo"
    weights = network_weights(output / RUN / "checkpoints/last.ckpt")
    (store,) = (output / "preprocessed").iterdir()
    opened = Store.open(store)
    digests = {
        "fingerprint": of_files(output / "fingerprint.yaml"),
        "plan": of_files(output / "plans/default.yaml"),
        "folds": of_files(output / "splits.json"),
        "store": of_files(*(file for file in sorted(store.rglob("*")) if file.name.startswith(tuple(opened.cases)))),
        "weights": hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest(),
        "best weights": of_weights(output / RUN / "checkpoints/best.ckpt"),
        "validation": of_images(output / RUN / "validation"),
        "model": of_files(*sorted((output / "models/main").glob("*.safetensors"))),
        "predictions": of_images(folder / "segmented"),
    }
    return Results(digests, weights)


def of_files(*files: Path) -> str:
    """Return a digest of the names and contents of files."""
    assert files
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()


def of_weights(checkpoint: Path) -> str:
    """Return a digest of the weights in a checkpoint."""
    weights = network_weights(checkpoint)
    return hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights))).hexdigest()


def of_images(folder: Path) -> str:
    """Return a digest of the voxels of every image in a folder."""
    files = sorted(folder.glob("*.nii.gz"))
    assert files
    return hashlib.sha256(
        b"".join(f.name.encode() + sitk.GetArrayFromImage(sitk.ReadImage(f)).tobytes() for f in files)
    ).hexdigest()


def difference(one: Results, other: Results) -> dict[str, object]:
    """Return which results differ, and the largest difference of a weight beside the largest weight."""
    apart = [float((one.weights[key] - other.weights[key]).abs().max()) for key in one.weights]
    return {
        "differing": [name for name in one.digests if one.digests[name] != other.digests[name]],
        "largest_difference_of_a_weight": max(apart),
        "largest_weight": max(float(tensor.abs().max()) for tensor in one.weights.values()),
    }


def main() -> int:
    """Compare every change with a first run; return 1 where one that promises the same bits has given others."""
    parser = arguments(__doc__ or "", peer=False)
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "gpu"))
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    options = parser.parse_args()
    kind = "cuda" if options.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    about = {"machine": machine(), "versions": versions("segfw", "torch", "numpy", "SimpleITK"), "device": kind}
    found = {}
    with tempfile.TemporaryDirectory(prefix="segfw-determinism-") as temporary:
        folder = Path(temporary)
        first = perform(folder / "first", folder / "data", options.accelerator, Change())
        for name in options.changes:
            found[name] = difference(first, perform(folder / name, folder / "data", options.accelerator, CHANGES[name]))
            print(f"{name}: {found[name]}", flush=True)
    if options.results is not None:
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        kept = {"date": date, "command": told_command(sys.argv), **about, "changes": found}
        path = options.results / f"determinism_{kind}.json"
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: each["differing"] for name, each in found.items()}), flush=True)
    promised = [name for name in found if name != "threads"] if kind == "cpu" else []
    return int(any(found[name]["differing"] for name in promised))


if __name__ == "__main__":
    sys.exit(main())
