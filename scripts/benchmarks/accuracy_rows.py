"""What is compared: the datasets, and the rows of the table, each one way to train on one of them.

Seeds, folds and budgets of a row stand here before it is trained; none is left out of the tables because of its result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

ITERATIONS_PER_EPOCH = 30
SHORT = 600
Program = Literal["segfw", "nnunet"]
Recipe = Literal["fast", "published"]


@dataclass(frozen=True)
class Dataset:
    """A dataset as both programs are given it.

    `labels`: what is scored, of the dense label maps in `references`. `voxel_mm`: the surface distance that NSD
    forgives. `share`: the planned features are divided by it. `task`: further words of segfw's command; `patch`:
    instead of the planned one; `made`: by `accuracy_made.py`; `contiguous`: folds are runs of neighbouring slices;
    `has_alpha`: images have an alpha channel that says nothing; `counted`: a label is many small structures.
    """

    folder: str
    configuration: str
    labels: tuple[tuple[str, int], ...]
    voxel_mm: float
    share: int = 4
    task: tuple[str, ...] = ()
    label_folder: str = "labelsTr"
    patch: tuple[int, ...] | None = None
    made: bool = False
    contiguous: bool = False
    has_alpha: bool = False
    counted: bool = False


ACDC = Dataset(
    "Dataset027_ACDC",
    "2d",
    (("RV", 1), ("MLV", 2), ("LVC", 3)),
    1.5625,
    task=("split.kind=group", r"split.group_pattern=patient\d+"),
)
DATASETS = {
    "Hippocampus": Dataset("Task04_Hippocampus", "3d_fullres", (("Anterior", 1), ("Posterior", 2)), 1.0, share=2),
    "ACDC": ACDC,
    "ACDC_scribbles": replace(
        ACDC,
        task=(*ACDC.task, "task.labels={background: 0, RV: 1, MLV: 2, LVC: 3, ignore: 4}"),
        label_folder="labelsTr_scribble",
    ),
    "Nuclei": Dataset("Dataset120_Nuclei", "2d", (("nucleus", 1),), 1.0, has_alpha=True, counted=True),
    "Membranes": Dataset("Dataset121_Membranes", "2d", (("membrane", 1),), 1.0, contiguous=True),
    "Rare": Dataset(
        "Dataset900_Rare", "3d_fullres", (("lesion", 1),), 1.0, patch=(32, 32, 32), made=True, counted=True
    ),
}
DATASETS["Rare_CT"] = replace(DATASETS["Rare"], task=("task.channels=[CT]",))
"""The same images as if they were CT, where the plan's intensity statistics normalize every image."""


@dataclass(frozen=True)
class Row:
    """One way to train on one dataset.

    A small batch, a share of the planned features, no mirroring in training or prediction. `configuration`: other than
    the dataset's; `words`: further words of segfw's command; `run`: what segfw's `name=` is, so that configurations can
    be ensembled; else the row's name; `plan_of`: the cases that fingerprint and plan see.
    """

    name: str
    dataset: str
    program: Program
    recipe: Recipe
    iterations: int = SHORT
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] = (0,)
    batch: int = 2
    configuration: str | None = None
    words: tuple[str, ...] = ()
    run: str | None = None
    plan_of: Literal["all", "training"] = "all"

    @property
    def trained(self) -> str:
        """The configuration that is trained."""
        return self.configuration or DATASETS[self.dataset].configuration

    @property
    def epochs(self) -> int:
        """Epochs of 30 iterations, or, of long trainings, 20 epochs of more."""
        return self.iterations // self.iterations_per_epoch

    @property
    def iterations_per_epoch(self) -> int:
        """Iterations between two looks at the validation cases."""
        return max(ITERATIONS_PER_EPOCH, self.iterations // 20)


def _pairs(dataset: str, seeds: Sequence[int], recipes: Sequence[Recipe] = ("published", "fast")) -> list[Row]:
    """Return both programs by `recipes`, otherwise alike: network, patch, batch, splits, seeds, iterations."""
    programs: tuple[Program, ...] = ("segfw", "nnunet")
    return [
        Row(f"{dataset.lower()}_{program}_{recipe}", dataset, program, recipe, seeds=tuple(seeds))
        for recipe in recipes
        for program in programs
    ]


def _horizons(dataset: str, program: Program, recipe: Recipe, budgets: Sequence[int]) -> list[Row]:
    """Return one recipe over budgets of `budgets` iterations."""
    return [Row(f"{dataset.lower()}_{program}_{recipe}_{n}", dataset, program, recipe, n) for n in budgets]


ALL_FOLDS = (0, 1, 2, 3, 4)
LONG = 3000
ADAMW = (
    *("optimizer=adamw", "optimizer.lr=0.003", "optimizer.weight_decay=0.01"),
    *("schedule=one_cycle", "schedule.warmup=0.15", "schedule.interval=step"),
)
FACTORS = {
    "adamw": ("AdamW over one cycle instead of SGD with polynomial decay", ADAMW),
    "light": ("light augmentation instead of the published one", ("augmentation=light",)),
    "batch_dice": ("Dice over the batch", ("loss.batch_dice=true",)),
    "float32": ("float32 instead of bfloat16", ("trainer.precision=32-true",)),
}
"""Single changes of the published recipe, {name: (what changes, words)}; the first three together are `fast`."""
CHANGED = ("Hippocampus", "ACDC", "ACDC_scribbles")
"""The datasets on which each change is tried."""

FIVE_FOLDS = [
    Row("hippocampus_five_folds", "Hippocampus", "segfw", "fast", LONG, folds=ALL_FOLDS, run="five_folds"),
    Row(
        *("hippocampus_five_folds_2d", "Hippocampus", "segfw", "fast", LONG),
        folds=ALL_FOLDS,
        batch=32,
        configuration="2d",
        run="five_folds",
    ),
]
PAIRS = [
    *_pairs("Hippocampus", (0, 1, 2)),
    *_pairs("ACDC", (0, 1, 2)),
    *_pairs("ACDC_scribbles", (0,)),
    *_pairs("Nuclei", (0,)),
    *_pairs("Rare", (0,)),
    *_pairs("Membranes", (0, 1, 2), ("published",)),
    *_pairs("Membranes", (0,), ("fast",)),
]
"""Seeds 1 and 2 of Membranes were written down after seed 0 had put segfw behind, to see whether it was the draw."""
SINGLE_FACTORS = [
    Row(f"{dataset.lower()}_published_{name}", dataset, "segfw", "published", words=words)
    for dataset in CHANGED
    for name, (_, words) in FACTORS.items()
]
MIRRORED = Row(
    "hippocampus_fast_mirrored", "Hippocampus", "segfw", "fast", LONG, words=("augmentation.mirror_axes=auto",)
)
HORIZONS = [
    *_horizons("ACDC", "segfw", "fast", (150, 300, 1200, LONG)),
    *_horizons("ACDC", "segfw", "published", (1200, LONG)),
    *_horizons("ACDC", "nnunet", "published", (LONG,)),
    *_horizons("Hippocampus", "segfw", "fast", (150, 300, 1200)),
    *_horizons("Hippocampus", "segfw", "published", (1200, LONG)),
    *_horizons("Hippocampus", "nnunet", "published", (LONG,)),
]
SEEN = [
    Row("rare_ct_plan_of_all", "Rare_CT", "segfw", "fast"),
    Row("rare_ct_plan_of_training", "Rare_CT", "segfw", "fast", plan_of="training"),
]
IN_FLOAT32 = Row(
    *("membranes_published_float32", "Membranes", "segfw", "published"), seeds=(0, 1, 2), words=FACTORS["float32"][1]
)
"""Whether it is the bfloat16 that keeps segfw behind on Membranes; written down when three seeds had shown that."""
ROWS = [*FIVE_FOLDS, *PAIRS, *SINGLE_FACTORS, *SEEN, *HORIZONS, MIRRORED, IN_FLOAT32]
QUICK = [
    replace(row, name=f"{row.name}_quick", iterations=60)
    for row in PAIRS
    if row.dataset == "Rare" and row.recipe == "fast"
]
"""Shows in minutes that everything works; 60 iterations say nothing of what either program can do."""
