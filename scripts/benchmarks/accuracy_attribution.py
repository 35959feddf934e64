"""What makes the difference: the program, the recipe, one change of it, the number of iterations."""

from pathlib import Path

from scripts.benchmarks.accuracy_figures import CASES, RESULTS, dice_of, lines_of, load, mean, shown, table
from scripts.benchmarks.accuracy_rows import (
    CHANGED,
    DATASETS,
    FACTORS,
    FIVE_FOLDS,
    HORIZONS,
    IN_FLOAT32,
    MIRRORED,
    PAIRS,
    SEEN,
)

NEAR = 0.005
"""A recipe has come as far as its longest training when its mean Dice is at most so much lower."""
FIRST = {"seed": "0", "fold": "0"}


def attribution(name: str) -> str:
    """Return {program} x {recipe} of one dataset: mean Dice over cases and labels, and of each seed."""
    rows = []
    for program in ("nnunet", "segfw"):
        names = [f"{name.lower()}_{program}_{recipe}" for recipe in ("published", "fast")]
        rows.append([program, *(_of_seeds(wanted) for wanted in names)])
    return table([f"{name}, mean (seeds)", "published recipe", "fast recipe"], rows)


def precision() -> str:
    """Return the published recipe on Membranes by both programs, and by segfw in nnU-Net's precision, seed by seed."""
    names = {"nnunet, float32": "membranes_nnunet_published", "segfw, bfloat16": "membranes_segfw_published"}
    names["segfw, float32"] = IN_FLOAT32.name
    rows = [[told, _of_seeds(name)] for told, name in names.items()]
    return table(["Membranes, published recipe", "mean (seeds)"], rows)


def exchanged(path: Path = RESULTS / "exchange.csv") -> str:
    """Return the mean losses of two epochs by whose steps, initial weights and batches they came from."""
    rows = [[line[key] for key in ("steps", "weights", "batches", "epoch_1", "epoch_2")] for line in load(path)]
    return table(["steps of", "initial weights of", "batches of", "mean loss, iterations 1 to 30", "31 to 60"], rows)


def factors() -> str:
    """Return the table of single changes of the published recipe: mean Dice of fold 0 with seed 0."""
    base = [dice_of(f"{name.lower()}_segfw_published", **FIRST) for name in CHANGED]
    rows = [["the published recipe", *map(shown, base)]]
    for factor, (told, _) in FACTORS.items():
        changed = [dice_of(f"{name.lower()}_published_{factor}") for name in CHANGED]
        planned = [factor == "batch_dice" and DATASETS[name].configuration == "2d" for name in CHANGED]
        values = zip(changed, base, planned, strict=True)
        rows.append([told, *("as planned" if already else _beside(new, old) for new, old, already in values)])
    fast = [dice_of(f"{name.lower()}_segfw_fast", **FIRST) for name in CHANGED]
    rows.append(["the first three: `fast`", *(_beside(new, old) for new, old in zip(fast, base, strict=True))])
    return table(["", *CHANGED], rows)


def mirrored() -> str:
    """Return what mirroring in training and prediction adds, on fold 0 of Hippocampus."""
    rows = []
    for told, name in (("without", FIVE_FOLDS[0].name), ("with mirroring", MIRRORED.name)):
        labels = [dice_of(name, **FIRST, label=label) for label in ("Anterior", "Posterior")]
        surface = mean(lines_of(CASES, name, **FIRST), "hd95_mm")
        rows.append([told, *map(shown, labels), shown(surface, 2)])
    return table(["fold 0", "Dice Anterior", "Dice Posterior", "HD95 mm"], rows)


def horizons(name: str) -> str:
    """Return mean Dice of fold 0, seed 0 by budget, and the least budget that comes near each recipe's longest."""
    every = [row for row in (*HORIZONS, *PAIRS, *FIVE_FOLDS) if row.dataset == name and row.configuration is None]
    budgets = sorted({row.iterations for row in every})
    rows = []
    for program, recipe in (("segfw", "fast"), ("segfw", "published"), ("nnunet", "published")):
        mine = {row.iterations: row for row in every if (row.program, row.recipe) == (program, recipe)}
        dice = {n: dice_of(row.name, **FIRST) for n, row in mine.items()}
        known = {n: value for n, value in dice.items() if value is not None}
        rows.append([f"{program}, {recipe}", *(shown(dice.get(n)) for n in budgets), _near(known)])
    head = [name, *(f"{n:,}" for n in budgets), "within 0.5 points of its longest after"]
    return table(head, rows)


def seen() -> str:
    """Return what differs, dataset by dataset, where fingerprint and plan see the training cases of a fold alone."""
    lines = load(RESULTS / "seen_cases.csv")
    rows = []
    for name in dict.fromkeys(line["dataset"] for line in lines):
        mine = [line for line in lines if line["dataset"] == name]
        differing = sorted({value for line in mine for value in line["differs"].split()})
        most = max(float(line["mean_intensity_differs_by"]) for line in mine)
        rows.append([name, ", ".join(f"`{value}`" for value in differing) or "nothing", f"{most:.1%}"])
    return table(["dataset", "of the plan differs in any of five folds", "mean foreground intensity, at most"], rows)


def seen_dice() -> str:
    """Return the Dice of fold 0 where the plan's intensity statistics are of all cases, and of the training cases."""
    rows = [[told, shown(dice_of(row.name))] for told, row in zip(("all cases", "training cases"), SEEN, strict=True)]
    return table(["Rare as CT, statistics of", "Dice"], rows)


def _near(dice: dict[int, float]) -> str:
    if len(dice) < 2:
        return "-"
    longest = dice[max(dice)]
    return f"{min(n for n, value in dice.items() if value >= longest - NEAR):,}"


def _of_seeds(name: str) -> str:
    """Return the mean over a row's seeds, and the Dice of each where there are several."""
    seeds = sorted({line["seed"] for line in lines_of(CASES, name)})
    each = [shown(dice_of(name, seed=seed)) for seed in seeds]
    return shown(dice_of(name)) + (f" ({', '.join(each)})" if len(each) > 1 else "")


def _beside(new: float | None, old: float | None) -> str:
    return shown(new) if new is None or old is None else f"{new:.4f} ({new - old:+.4f})"
