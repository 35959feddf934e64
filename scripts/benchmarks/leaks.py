"""Long work in one process: does it gather memory, file handles, threads, processes or temporary files?

    python scripts/benchmarks/leaks.py --results scripts/benchmarks/results

Trains hundreds of epochs, predicts hundreds of cases, and runs tens of trials and jobs, on the demo's images. Exits
with 1 where something grows.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.census import (
    COUNTS,
    Census,
    growing,
    judged,
    least_counts,
    memory_per_sample,
    read,
)
from scripts.benchmarks.common import arguments, machine, signed, versions
from scripts.benchmarks.leaks_work import SAMPLES, WORDS, WORKS, roots

ROOT = Path(__file__).parents[2]
SHOWN = 50
"""Samples of a work that are kept with the results, at most."""


@dataclass(frozen=True)
class Length:
    """How often a work is done, in one piece of which `unit`, and the bytes that memory may grow by each time."""

    unit: str
    full: int
    quick: int
    most_memory: float


LENGTHS = {
    "train": Length("epoch", 500, 60, 20e3),
    "train_workers": Length("epoch", 500, 60, 20e3),
    "predict": Length("case", 300, 60, 20e3),
    "search": Length("trial", 30, 8, 1e6),
    "jobs": Length("job", 30, 8, 1e6),
}


def run(words: list[str], folder: Path) -> None:
    """Run Python with `words` in the folder, its temporary files in one of their own; raise where it fails."""
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp"), "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")


def sample(work: str, count: int, folder: Path) -> list[Census]:
    """Do a work `count` times and return a census of each time."""
    (folder / SAMPLES).unlink(missing_ok=True)
    run(["-m", "scripts.benchmarks.leaks_work", work, str(count), str(folder)], folder)
    return read(folder / SAMPLES)


def told(work: str, samples: list[Census], faults: list[str]) -> str:
    """Say in a line what a work holds, and what grows."""
    length, last = LENGTHS[work], samples[-1]
    slope = memory_per_sample(samples)
    counts = ", ".join(f"{name} {'/'.join(map(str, dict.fromkeys(least_counts(samples, name))))}" for name in COUNTS)
    line = f"{work}: {len(samples)} times, {last.memory / 1e6:.0f} MB, {slope / 1e3:+.1f} kB per {length.unit}"
    return f"{line} (at most {length.most_memory / 1e3:g}); {counts}" + "".join(f"\n  GROWS {each}" for each in faults)


def content(work: str, samples: list[Census], faults: list[str], seconds: float) -> dict[str, object]:
    """Return what is kept of a work."""
    kept = samples[:: max(1, -(-len(samples) // SHOWN))]
    return {
        "times": len(samples),
        "unit": LENGTHS[work].unit,
        "seconds": round(seconds, 1),
        "memory_bytes_per_time": round(memory_per_sample(samples)),
        "memory_bytes_allowed": LENGTHS[work].most_memory,
        "least_counts": {name: least_counts(samples, name) for name in COUNTS},
        "most_counts": {name: max(getattr(each, name) for each in judged(samples)) for name in COUNTS},
        "grows": faults,
        "memory_mb": [round(each.memory / 1e6, 2) for each in kept],
    }


def keep(path: Path, about: dict[str, object], found: dict[str, dict[str, object]]) -> None:
    """Write what was found to a file; works that it holds already and that were not done now stay."""
    before = json.loads(path.read_text(encoding="utf-8"))["works"] if path.exists() else {}
    kept = signed({**about, "works": {**before, **found}})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Do every work, tell of it, and return 1 if something grows."""
    parser = arguments(__doc__ or "", peer=False)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS), help="what to do; default: all")
    options = parser.parse_args()
    about = {
        "machine": machine(),
        "versions": versions("segfw", "torch", "pytorch-lightning", "wandb", "mlflow-skinny"),
    }
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory(prefix="segfw-leaks-") as temporary:
        folder = Path(temporary)
        run(["-m", "segfw", *WORDS, *roots(folder), "trainer.max_epochs=1"], folder)
        for work in options.works:
            length, began = LENGTHS[work], time.monotonic()
            samples = sample(work, length.quick if options.quick else length.full, folder)
            faults = growing(samples, length.most_memory)
            print(told(work, samples, faults), flush=True)
            found[work] = content(work, samples, faults, time.monotonic() - began)
            if options.results is not None:
                keep(options.results / "leaks.json", about, found)
    slopes = {work: each["memory_bytes_per_time"] for work, each in found.items()}
    print(json.dumps(slopes), flush=True)
    return int(any(each["grows"] for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
