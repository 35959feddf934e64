"""What every benchmark shares: measuring ours and theirs in turn, saying on what machine, and how the outcome is told.

Ours and theirs do the same work one after the other, the order swapped each time, so that whatever else the machine
does hits both. Of each the least disturbed run counts: time is only ever added to, never taken away.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from segfw.core.cases.dataset import Dataset

TINY = (
    "+task=Demo",
    "experiment=published",
    "configurations=[3d_fullres]",
    "folds=0",
    "plan.patch_size=[16,16,16]",
    "plan.features_per_stage=[4,4,4,4]",
    "plan.batch_size=2",
    "inference.mirror=false",
    "inference.step_size=1",
    "trainer.limit_val_batches=1",
)
"""Words of a command whose training takes seconds: what is watched is not how well it segments."""
SAMPLING = 0.05  # seconds between two looks at a child's memory
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What one run took: seconds by the clock, seconds of processors, bytes at the peak (0: not measured)."""

    wall: float
    cpu: float
    peak: int = 0


@dataclass(frozen=True)
class Turns:
    """Repeated runs of one piece of work; `theirs` is empty where there is no rival."""

    ours: tuple[Usage, ...]
    theirs: tuple[Usage, ...]

    def least(self, side: str, field: str) -> float:
        """Return the least `wall`, `cpu` or `peak` of the side `ours` or `theirs`."""
        return min(float(getattr(usage, field)) for usage in getattr(self, side))


@dataclass(frozen=True)
class Peer:
    """nnU-Net's interpreter and the folder that its three environment variables point into."""

    python: Path
    root: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What nnU-Net reads from the environment; none of our paths is among it."""
        folders = {f"nnUNet_{kind}": str(self.root / kind) for kind in ("raw", "preprocessed", "results")}
        return {**folders, "PYTHONPATH": ""}

    def raw(self, name: str) -> Path:
        """Where the raw dataset `name` lies."""
        return self.root / "raw" / name

    def preprocessed(self, name: str) -> Path:
        """Where the plans of the dataset `name` lie and its preprocessed cases come."""
        return self.root / "preprocessed" / name

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return one of nnU-Net's own commands."""
        return [str(self.python.with_name(name)), *arguments]


def lay_out(dataset: Dataset, count: int | None, folder: Path) -> None:
    """Link the first `count` cases (None: all) into nnU-Net's raw layout, which both programs read.

    Images hold one channel per file.
    """
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    cases, ending = dataset.cases[:count], dataset.file_ending
    for case in cases:
        for channel, image in enumerate(case.images):
            (folder / "imagesTr" / f"{case.name}_{channel:04d}{ending}").symlink_to(Path(image).absolute())
        (folder / "labelsTr" / f"{case.name}{ending}").symlink_to(Path(str(case.label)).absolute())
    description = {
        "channel_names": {str(number): name for number, name in enumerate(dataset.channel_names)},
        "labels": dataset.labels.values,
        "numTraining": len(cases),
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")


def ratio(works: Sequence[Turns], field: str) -> float:
    """Return ours / theirs of `wall`, `cpu` or `peak`: the least of each piece of work, summed over all of them."""
    return sum(work.least("ours", field) for work in works) / sum(work.least("theirs", field) for work in works)


def take_turns(ours: Callable[[], Usage], theirs: Callable[[], Usage] | None, repeats: int) -> Turns:
    """Run both `repeats` times: ours first, then theirs first, and so on."""
    mine: list[Usage] = []
    other: list[Usage] = []
    for number in range(repeats):
        sides = [(ours, mine)] if theirs is None else [(ours, mine), (theirs, other)]
        for run, results in reversed(sides) if number % 2 else sides:
            results.append(run())
    return Turns(tuple(mine), tuple(other))


def timed(function: Callable[[], object]) -> Callable[[], Usage]:
    """Return a run of `function` in this process; processor seconds are those of all its threads."""

    def run() -> Usage:
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return Usage(time.perf_counter() - wall, time.process_time() - cpu)

    return run


def child(
    command: Sequence[str], environment: Mapping[str, str] | None = None, sampling: float = SAMPLING
) -> Callable[[], Usage]:
    """Return a run of `command` in a process of its own, its descendants included, looked at every `sampling` seconds.

    Memory that several processes share counts once. Raises `RuntimeError` with the end of its output if it fails.
    """

    def run() -> Usage:
        began = time.perf_counter()
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        ) as process:
            return _watch(process, began, sampling)

    return run


def _watch(process: subprocess.Popen[bytes], began: float, sampling: float) -> Usage:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    output, peak, cpu = b"", 0, {}
    while True:
        tree = descendants(process.pid)
        peak = max(peak, memory(tree), *map(highest, tree))
        cpu.update({pid: processor_seconds(pid) for pid in tree})
        output = (output + (process.stdout.read() or b""))[-4000:]
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        time.sleep(sampling)
    wall = time.perf_counter() - began
    output = (output + (process.stdout.read() or b""))[-4000:]
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{output.decode(errors='replace')}")
    # Of time the kernel's account misses children that nobody waited for, ours what came between two looks. Its account
    # of memory would begin with that of this process, which the child was until it started its program.
    return Usage(wall, max(usage.ru_utime + usage.ru_stime, sum(cpu.values())), peak)


def descendants(pid: int) -> dict[int, int]:
    """Return {process: its parent} of `pid`, whose parent is left at 0, and of all processes below it that run now."""
    tree, waiting = {pid: 0}, [pid]
    for parent in waiting:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found = [int(word) for word in _read(task).split()]
            tree.update(dict.fromkeys(found, parent))
            waiting += found
    return tree


def memory(tree: Mapping[int, int]) -> int:
    """Return the bytes that the processes of {process: its parent} hold, of what is shared each its share.

    A process that is about to start a program is for a moment its parent once more, with the same memory (vfork): its
    account is then its parent's to the last number, and counts once. One that is gone counts nothing.
    """
    accounts = {pid: _read(Path(f"/proc/{pid}/smaps_rollup")) for pid in tree}
    return sum(_bytes(account, "Pss") for pid, account in accounts.items() if account != accounts.get(tree[pid]))


def highest(pid: int) -> int:
    """Return the most bytes that process `pid` has held so far, also between two looks; 0 if it is gone."""
    return _bytes(_read(Path(f"/proc/{pid}/status")), "VmHWM")


def _bytes(account: str, name: str) -> int:
    line = re.search(rf"^{name}:\s+(\d+) kB", account, re.MULTILINE)
    return int(line[1]) * 1024 if line else 0


def processor_seconds(pid: int) -> float:
    """Return the seconds that process `pid` has used, without its children; 0 if it is gone."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def arguments(description: str, peer: bool = True) -> argparse.ArgumentParser:
    """Return the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, help="folder of real datasets")
    parser.add_argument("--quick", action="store_true", help="fewer cases and repeats")
    parser.add_argument("--results", type=Path, help="folder to write what was measured into, as JSON")
    if peer:
        parser.add_argument(
            "--peer-python", type=Path, help="an interpreter that has nnunetv2; without it only ours runs"
        )
    return parser


def machine() -> dict[str, object]:
    """Say what this ran on, and how busy it was before."""
    model = [
        line.partition(":")[2].strip() for line in _read(Path("/proc/cpuinfo")).splitlines() if "model name" in line
    ]
    total = [int(line.split()[1]) for line in _read(Path("/proc/meminfo")).splitlines() if line.startswith("MemTotal:")]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(total[0] / 2**20, 1) if total else None,
        "gpu": _gpu(),
        "system": platform.platform(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _gpu() -> str | None:
    try:
        question = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(question, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of `packages`; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def listed(key: str, values: object) -> str:
    """Return the override `key=values` without blanks, as the command line wants lists."""
    return f"{key}={values}".replace(" ", "")


def commit_and_date() -> tuple[str, str]:
    """Return the commit that is checked out, in short, and today's date."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    return commit.strip(), datetime.datetime.now(datetime.UTC).date().isoformat()


def told_command(arguments: Sequence[str]) -> str:
    """Return the command line as it is published: of absolute paths, which mean nothing elsewhere, the last part.

    `arguments`: those of Python, or `sys.argv`; of a module that was run by `-m` this is told.
    """
    if sys.orig_argv[1:2] == ["-m"] and list(arguments[1:]) == sys.orig_argv[3:]:
        arguments = sys.orig_argv[1:]
    return shlex.join(["python", *(Path(word).name if Path(word).is_absolute() else word for word in arguments)])


def tell(
    name: str,
    outcome: Mapping[str, float],
    works: Mapping[str, Sequence[Turns]],
    about: Mapping[str, object],
    results: Path | None,
) -> None:
    """Print `outcome` as one line of JSON, the last one; with `results` write it with every run to `results/name.json`.

    `about`: the machine and the versions, asked for before the first run.
    """
    outcome = {key: float(f"{value:.4g}") for key, value in outcome.items()}
    if results is not None:
        runs = {work: [asdict(each) for each in turns] for work, turns in works.items()}
        results.mkdir(parents=True, exist_ok=True)
        _keep(results / f"{name}.json", {**about, "outcome": outcome, "runs": runs})
    print(json.dumps(outcome), flush=True)


def keep_origin(table: Path, *packages: str) -> None:
    """Write beside a table of figures, in a JSON file of its name, when, how, where and with what they were made."""
    _keep(table.with_suffix(".json"), {"machine": machine(), "versions": versions(*packages)})


def signed(content: Mapping[str, object]) -> dict[str, object]:
    """Return what was measured, after today's date and the command."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": date, "command": told_command(sys.argv), **content}


def _keep(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(signed(content), indent=1) + "\n", encoding="utf-8")
