"""The tables of docs/accuracy.md and the README, computed from committed figures of single cases; none is typed in."""

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from scripts.benchmarks.accuracy_attribution import (
    attribution,
    exchanged,
    factors,
    horizons,
    mirrored,
    precision,
    seen,
    seen_dice,
)
from scripts.benchmarks.accuracy_figures import CASES, CURVES, RUNS, Line, lines_of, load, mean, shown, table
from scripts.benchmarks.accuracy_plots import draw_curves
from scripts.benchmarks.accuracy_rows import DATASETS, FIVE_FOLDS, PAIRS, Row
from scripts.benchmarks.accuracy_selection import contestants
from scripts.benchmarks.accuracy_statistics import compare, matched
from scripts.benchmarks.uncertainty import uncertainty
from segfw.core.scoring.comparison import holm

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "accuracy.md", ROOT / "README.md")
PUBLISHED = (  # Hippocampus, five folds, whole cases: anterior, posterior
    ("nnU-Net 3d_fullres, 1000 x 250 iterations (Isensee et al. 2021)", "0.8975", "0.8807"),
    ("MONAI DynUNet 3d_fullres (its tutorial)", "0.8983", "0.8816"),
    ("nnU-Net 2d (Isensee et al. 2018)", "0.8852", "0.8670"),
    ("nnU-Net 2d + 3d_fullres (Isensee et al. 2018)", "0.8978", "0.8809"),
)
TAKEN = ("seconds", "processor_seconds")
BEGIN, END = "<!-- computed: {} -->", "<!-- end -->"


def missed(lines: Iterable[Line]) -> int:
    """Count the segmentations without a voxel of a label that the reference has."""
    return sum(int(float(line["n_pred"])) == 0 and int(float(line["n_ref"])) > 0 for line in lines)


def five_folds(row: Row) -> str:
    """Return the table of a row by folds, beside what others have published."""
    cases = lines_of(CASES, row.name)
    runs = lines_of(RUNS, row.name)
    labels = [name for name, _ in DATASETS[row.dataset].labels]
    rows = []
    for fold in sorted({line["fold"] for line in cases}):
        part = [line for line in cases if line["fold"] == fold]
        (run,) = (line for line in runs if line["fold"] == fold)
        rows.append([f"fold {fold}", *_scores(part, labels), *(run[key] or "-" for key in TAKEN)])
    total = [str(sum(int(run[key]) for run in runs)) if all(run[key] for run in runs) else "-" for key in TAKEN]
    rows.append([f"**all {len({line['case'] for line in cases})} cases**", *_scores(cases, labels), *total])
    rows += [[who, *figures, *["-"] * 6] for who, *figures in PUBLISHED]
    head = ["", *(f"Dice {name}" for name in labels), "mean", "HD95 mm", "NSD", "missed", "seconds", "processor s"]
    return table(head, rows)


def summary() -> str:
    """Return the README's table: five folds of Hippocampus, ours and what others have published."""
    labels = [name for name, _ in DATASETS["Hippocampus"].labels]
    rows = []
    for row in FIVE_FOLDS:
        cases = lines_of(CASES, row.name)
        runs = lines_of(RUNS, row.name)
        if len(runs) < len(row.folds):
            continue
        known = [int(run["processor_seconds"]) for run in runs if run["processor_seconds"]]
        folds = "all folds" if len(known) == len(runs) else f"{len(known)} of {len(runs)} folds"
        what = f"segfw {row.trained}, `experiment={row.recipe}`, {row.iterations:,} iterations of batch {row.batch}"
        dice = [shown(mean((line for line in cases if line["label"] == label), "dice")) for label in labels]
        rows.append([f"{what}; {sum(known) / 3600:.1f} h of processor time for {folds}, no GPU", *dice])
    rows += [list(each) for each in PUBLISHED[:2]]
    return table(["Hippocampus, five folds, 260 whole cases", *(f"Dice {name.lower()}" for name in labels)], rows)


def distance(lines: Sequence[Line], digits: int) -> str:
    """Return the mean HD95, and of how many label maps it is where some have none: those of missed labels."""
    known = sum(bool(line["hd95_mm"]) for line in lines)
    return shown(mean(lines, "hd95_mm"), digits) + (f" ({known} of {len(lines)})" if known < len(lines) else "")


def _scores(lines: Sequence[Line], labels: Sequence[str]) -> list[str]:
    dice = [mean((line for line in lines if line["label"] == label), "dice") for label in labels]
    known = [value for value in dice if value is not None]
    average = statistics.fmean(known) if known else None
    further = [distance(lines, 2), shown(mean(lines, "nsd")), str(missed(lines))]
    return [*map(shown, dice), shown(average), *further]


def budgets() -> str:
    """Return the table of equal budgets: a line per dataset, program and recipe."""
    cases, runs, rows = load(CASES), load(RUNS), []
    for row in PAIRS:
        mine = [line for line in runs if line["row"] == row.name]
        if not mine:
            continue
        scored = [line for line in cases if line["row"] == row.name]
        labels = [name for name, _ in DATASETS[row.dataset].labels]
        dice = ", ".join(shown(mean((ln for ln in scored if ln["label"] == name), "dice"), 3) for name in labels)
        seeds, folds = len({line["seed"] for line in mine}), len({line["fold"] for line in mine})
        rows.append(
            [
                *(row.dataset, row.trained, row.program, row.recipe, mine[0]["patches"], f"{folds} x {seeds}"),
                *(shown(mean(scored, "dice")), dice, distance(scored, 1), shown(mean(scored, "nsd"), 3)),
                *(shown(mean(scored, "lesion_f1"), 3) if DATASETS[row.dataset].counted else "-", str(missed(scored))),
                *(shown(mean(mine, key), 0) for key in TAKEN),
                *(f"{int(mine[0]['parameters']) / 1e6:.2f}", mine[0]["training_tflop"]),
            ]
        )
    head = ["dataset", "", "program", "recipe", "patches", "folds x seeds", "Dice", "by label", "HD95", "NSD"]
    return table([*head, "lesion F1", "missed", "seconds", "processor s", "10^6 parameters", "TFLOP"], rows)


def patient(dataset: str, case: str) -> str:
    """Return what a bootstrap draws: the patient, of ACDC in the case's name, elsewhere the case."""
    found = re.match(r"patient\d+", case)
    return found.group() if found and dataset.startswith("ACDC") else case


def values(row: str, dataset: str) -> dict[tuple[str, int], list[float]]:
    """Return {(patient, seed): Dice of its cases and labels} of a row."""
    gathered: dict[tuple[str, int], list[float]] = defaultdict(list)
    for line in load(CASES):
        if line["row"] == row and line["dice"]:
            gathered[patient(dataset, line["case"]), int(line["seed"])].append(float(line["dice"]))
    return dict(gathered)


def differences(recipe: str) -> str:
    """Return the table of segfw minus nnU-Net by one recipe, with 95 % bounds, corrected over the datasets."""
    found = {}
    for name in DATASETS:
        ours, theirs = (values(f"{name.lower()}_{program}_{recipe}", name) for program in ("segfw", "nnunet"))
        if ours and ours.keys() == theirs.keys():
            sides = matched(ours, theirs)
            found[name] = (sides[0].shape, compare(*sides))
    tested = {name: each.p for name, (_, each) in found.items() if each.p is not None and not is_stack(name)}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    rows = [
        [
            *(name, f"{shape[0]}{' slices of one stack' if is_stack(name) else ''}", str(shape[1])),
            f"{each.mean:+.4f}",
            "-" if is_stack(name) else f"{each.low:+.4f} to {each.high:+.4f}",
            f"{corrected[name]:.4f}" if name in corrected else "-",
        ]
        for name, (shape, each) in found.items()
    ]
    return table(["dataset", "patients or images", "seeds", "segfw - nnU-Net", "95 % bounds", "p, Holm"], rows)


def is_stack(name: str) -> bool:
    """Whether a dataset's cases are slices of one stack, which are no independent samples."""
    return DATASETS[name].contiguous


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with what each part makes between its marks, for those that it has."""
    for name, make in parts.items():
        begin = BEGIN.format(name)
        if begin in text:
            head, _, rest = text.partition(begin)
            text = f"{head}{begin}\n\n{make()}\n\n{END}{rest.partition(END)[2]}"
    return text


def tables() -> dict[str, Callable[[], str]]:
    """Return what makes each table, by the name in its mark."""
    return {
        "summary": summary,
        "five folds": lambda: five_folds(FIVE_FOLDS[0]),
        "five folds 2d": lambda: five_folds(FIVE_FOLDS[1]),
        "budgets": budgets,
        "differences fast": lambda: differences("fast"),
        "differences published": lambda: differences("published"),
        "attribution": lambda: f"{attribution('Hippocampus')}\n\n{attribution('ACDC')}",
        "exchange": exchanged,
        "factors": factors,
        "contestants": contestants,
        "mirrored": mirrored,
        "precision": precision,
        "seen": seen,
        "seen dice": seen_dice,
        "uncertainty": uncertainty,
        "horizons": lambda: f"{horizons('Hippocampus')}\n\n{horizons('ACDC')}",
    }


def write_page() -> None:
    """Put the computed tables between their marks in docs/accuracy.md and the README, and draw the plots."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), tables()), encoding="utf-8")
    draw_curves(load(CURVES), load(RUNS), PAGES[0].parent / "pictures")
