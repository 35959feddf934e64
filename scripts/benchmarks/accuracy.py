"""How well models segment: segfw and nnU-Net trained alike, scored alike, on whole cases in their own geometry.

python -m scripts.benchmarks.accuracy --data DATA --work WORK [--peer-python PYTHON] [--rows ...] [--jobs 2]
python -m scripts.benchmarks.accuracy --quick [--peer-python PYTHON]     minutes: both programs on the generated dataset
python -m scripts.benchmarks.accuracy --page               the tables and plots again, from the committed figures

Which rows there are stands in `accuracy_rows.py`. A training that is in the tables is not made again; one that was
interrupted goes on. Both programs' final weights segment the validation cases, and `segfw evaluate` scores both
against the dense reference label maps. results/accuracy_cases.csv has one line per case and label,
accuracy_runs.csv one per training, accuracy_curves.csv one per epoch; every summary is computed from them. `--quick`
writes them into WORK/quick. The last line printed is one JSON object: mean Dice by row, and of rows that both programs
have the ratio of processor seconds, ours / theirs.
"""

import argparse
import csv
import json
import math
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.accuracy_figures import CASES, CURVES, RESULTS, RUNS, lines_of, load, mean
from scripts.benchmarks.accuracy_ours import Folders, Outcome, plan_of, task_words, train_ours, trained
from scripts.benchmarks.accuracy_page import write_page
from scripts.benchmarks.accuracy_rows import DATASETS, FIVE_FOLDS, QUICK, ROWS, Row
from scripts.benchmarks.accuracy_theirs import prepare_theirs, train_theirs
from scripts.benchmarks.common import Peer, arguments, child, commit_and_date, machine
from segfw.core.planning.cost import PASSES, forward_flops, parameter_count

WORK = Path("outputs/accuracy")
FURTHER = {
    "accuracy_seen": RESULTS / "seen_cases.csv",
    "exchange": RESULTS / "exchange.csv",
    "accuracy_selection": RESULTS / "accuracy_selection_cases.csv",
    "uncertainty": RESULTS / "uncertainty_cases.csv",
}
"""Scripts that make further tables of the page, and these."""
_WRITING = threading.Lock()


@dataclass(frozen=True)
class Training:
    """One fold of a row with one seed."""

    row: Row
    seed: int
    fold: int

    @property
    def key(self) -> dict[str, object]:
        """What tells it from every other in the tables."""
        return {"row": self.row.name, "seed": self.seed, "fold": self.fold}


def missing(rows: Iterable[Row], runs: Path) -> list[Training]:
    """Return the trainings of `rows` that are not in the table of runs, the first seed of every row first."""
    done = {(line["row"], int(line["seed"]), int(line["fold"])) for line in load(runs)}
    every = [Training(row, seed, fold) for row in rows for seed in row.seeds for fold in row.folds]
    left = [each for each in every if (each.row.name, each.seed, each.fold) not in done]
    return sorted(left, key=lambda each: each.seed)


def measure(training: Training, folders: Folders, peer: Peer | None, results: Path) -> None:
    """Train, score and write one training into the tables of `results`.

    Raises `RuntimeError` for nnU-Net's without its interpreter.
    """
    row, code = training.row, commit_and_date()  # of the code that trains, whatever is committed meanwhile
    if row.program == "segfw":
        outcome = train_ours(row, training.seed, training.fold, folders)
    elif peer is None:
        raise RuntimeError(f"{row.name} needs --peer-python, an interpreter that has nnunetv2")
    else:
        outcome = train_theirs(row, training.seed, training.fold, folders, peer)
    cases = [{**training.key, **line} for line in score(row, outcome.predictions, folders)]
    curve = [
        {**training.key, "iterations": n, "seconds": round(seconds, 1), "patch_dice": round(dice, 5)}
        for n, seconds, dice in outcome.curve
    ]
    with _WRITING:
        append(results / CASES.name, cases)
        append(results / CURVES.name, curve)
        append(results / RUNS.name, [describe(training, outcome, folders, code)])
    dice = [float(str(line["dice"])) for line in cases if line["dice"] != ""]
    print(f"{training.key}: mean Dice {sum(dice) / len(dice):.4f}, {outcome.seconds} s", flush=True)


def prepare(row: Row, folders: Folders, peer: Peer | None) -> None:
    """Plan and preprocess a row's dataset, so that its trainings can begin."""
    words = [*task_words(row.dataset, folders), f"configurations=[{row.trained}]"]
    child([sys.executable, "-m", "segfw", *words, "stages=[fingerprint,plan,preprocess]"], sampling=2.0)()
    if row.program == "nnunet" and peer is not None:
        prepare_theirs(row, folders, peer)


def score(row: Row, predictions: Path, folders: Folders) -> list[dict[str, object]]:
    """Score a folder of predictions; return a line per case and label, undefined values as empty text."""
    dataset = DATASETS[row.dataset]
    labels = ",".join(f"{name}: {value}" for name, value in dataset.labels)
    output = predictions.parent / "scores.json"
    references = folders.of(dataset) / "labelsTr"
    words = [f"predictions={predictions}", f"references={references}", f"labels={{{labels}}}", f"output={output}"]
    words += [f"tolerance_mm={dataset.voxel_mm}", "executor.workers=0"]
    child([sys.executable, "-m", "segfw", "evaluate", *words], sampling=2.0)()
    with output.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return [judged(line) for line in csv.DictReader(file)]


def judged(line: Mapping[str, str]) -> dict[str, object]:
    """Keep of a line of `segfw evaluate` what the table holds."""
    rounded = {key: _rounded(line[key]) for key in ("dice", "hd95_mm", "nsd", "lesion_f1")}
    return {
        **{key: line[key] for key in ("case", "label")},
        **rounded,
        "n_pred": line["n_pred"],
        "n_ref": line["n_ref"],
    }


def _rounded(text: str) -> object:
    value = float(text or "nan")
    return round(value, 6) if math.isfinite(value) else ""


def describe(training: Training, outcome: Outcome, folders: Folders, code: tuple[str, str]) -> dict[str, object]:
    """Return the line of a training in the table of runs; `code`: commit and date of what trained."""
    row, plan = training.row, plan_of(training.row.dataset, folders)
    configuration = trained(row, folders)
    channels, heads = len(plan.channel_names), len(DATASETS[row.dataset].labels) + 1
    forward = forward_flops(configuration, channels, heads)
    commit, today = code
    about = machine()
    return {
        **training.key,
        **{"dataset": row.dataset, "program": row.program, "recipe": row.recipe, "configuration": row.trained},
        **{"iterations": row.iterations, "patches": row.iterations * row.batch},
        **{"parameters": parameter_count(configuration, channels, heads)},
        **{"training_tflop": round(PASSES * forward * row.iterations / 1e12, 1)},
        **{"seconds": outcome.seconds, "processor_seconds": outcome.processor_seconds},
        **{
            "precision": outcome.precision,
            "versions": outcome.versions,
            "processor": about["processor"],
            "cores": about["cores"],
        },
        **{"load": about["load_before"], "commit": commit},
        **{"date": today, "command": outcome.command},
    }


def append(table: Path, lines: list[dict[str, object]]) -> None:
    """Add lines at the end of a table; its first line names the columns."""
    fresh = not table.is_file()
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows(lines)


def write_five_folds() -> None:
    """Write the five-fold row of Hippocampus as a table of its own: case, fold, label, Dice."""
    lines = lines_of(CASES, FIVE_FOLDS[0].name)
    if not lines:
        return
    with (CASES.parent / "hippocampus_3d_fullres_cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["case", "fold", "label", "dice"], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(lines, key=lambda line: (line["case"], line["label"])))


def outcome(rows: Iterable[Row], results: Path) -> dict[str, float]:
    """Return the mean Dice of each row that has been trained, and ours / theirs of the processor seconds of pairs."""
    rows = list(rows)
    dice = {row.name: mean(lines_of(results / CASES.name, row.name), "dice") for row in rows}
    taken = {row.name: mean(lines_of(results / RUNS.name, row.name), "processor_seconds") for row in rows}
    found = {f"{name}_dice": round(value, 4) for name, value in dice.items() if value is not None}
    for row in rows:
        ours, theirs = taken.get(row.name.replace("nnunet", "segfw")), taken[row.name]
        if row.program == "nnunet" and ours and theirs:
            found[f"{row.name.replace('nnunet_', '')}_processor_seconds"] = round(ours / theirs, 3)
    return found


def train(rows: Sequence[Row], folders: Folders, peer: Peer | None, results: Path, jobs: int) -> None:
    """Make the trainings that are missing in the tables of `results`."""
    os.environ.update(OMP_WAIT_POLICY="passive", OMP_NUM_THREADS="1", WANDB_MODE="disabled")
    waiting = missing(rows, results / RUNS.name)
    for row in dict.fromkeys(each.row for each in waiting):  # before the trainings, which work at the same time
        prepare(row, folders, peer)
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(measure, each, folders, peer, results) for each in waiting]:
            done.result()


def make_further(options: argparse.Namespace) -> None:
    """Make the other tables of the page that are missing; they need what has been trained."""
    for name, table in FURTHER.items():
        if not table.is_file():
            words = ["--work", str(options.work)]
            words += (
                ["--peer-python", str(options.peer_python)] if name == "exchange" else ["--data", str(options.data)]
            )
            child([sys.executable, "-m", f"scripts.benchmarks.{name}", *words], sampling=2.0)()


def main() -> None:
    """Make the trainings and tables that are missing, then the page."""
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--work", type=Path, default=WORK, help="folder for what is made; needed again to go on")
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS], choices=[row.name for row in ROWS])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, of one thread each")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    parser.add_argument("--again", action="store_true", help="forget all tables first, so that everything is made anew")
    options = parser.parse_args()
    work, results = options.work.absolute(), options.results or (options.work / "quick" if options.quick else RESULTS)
    rows = QUICK if options.quick else [row for row in ROWS if row.name in options.rows]
    if not options.page:
        if options.data is None and not options.quick:
            parser.error("--data is needed, or --quick, or --page")
        peer = Peer(options.peer_python.absolute(), work / "nnunet") if options.peer_python else None
        rows = [row for row in rows if peer or row.program == "segfw"]
        if options.again:
            for table in (results / each.name for each in (CASES, RUNS, CURVES, *FURTHER.values())):
                table.unlink(missing_ok=True)
        train(rows, Folders((options.data or work).absolute(), work), peer, results, options.jobs)
        if len(rows) == len(ROWS) and results == RESULTS:
            make_further(options)
    if results == RESULTS:
        write_five_folds()
        write_page()
    print(json.dumps(outcome(rows, results)), flush=True)


if __name__ == "__main__":
    main()
