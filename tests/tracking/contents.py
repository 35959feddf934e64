"""Report contents of an invented dataset."""

import math

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Fingerprint, IntensityStatistics, Plan
from segfw.core.scoring.label_confusion import Confusion
from segfw.tracking.confusion_figure import ConfusionOf
from segfw.tracking.report import FoldCurves, ReportContent, ValidationScores
from segfw.tracking.runs_table import RunCost
from segfw.tracking.selection_table import CandidateScore
from segfw.tracking.summary import Choice
from segfw.tracking.viewer import ViewedCase

LABELS = LabelSet({"background": 0, "liver & <bile>": 1, "tumor $x$": 2})
CONFIGURATION = Configuration(
    spacing=(1.5, 0.8, 0.8),
    patch_size=(32, 64, 64),
    batch_size=2,
    median_image_size_in_voxels=(60.0, 120.0, 128.0),
    architecture="unet",
    features_per_stage=(32, 64, 128),
    kernel_sizes=((3, 3, 3),) * 3,
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    n_conv_per_stage=(2, 2, 2),
    n_conv_per_stage_decoder=(2, 2),
    normalization_schemes=("ct",),
    use_mask_for_norm=(False,),
    batch_dice=False,
)
STATISTICS = IntensityStatistics(101.5, 104.0, 37.3, -980.0, 1200.0, 200.0, -20.0)


def curve_rows(epochs: int) -> tuple[dict[str, float], ...]:
    """Make the rows of a training that goes well."""
    rows: list[dict[str, float]] = []
    for epoch in range(epochs):
        dice = 0.9 * (1 - math.exp(-6 * (epoch + 1) / epochs)) + 0.01 * math.sin(7 * epoch)
        labels = {"val/patch_dice/liver & <bile>": dice + 0.02, "val/patch_dice/tumor $x$": dice - 0.02}
        loss = {"train/loss": 1 - 2 * dice, "val/loss": 1.05 - 2 * dice}
        dices = {"val/patch_dice": dice, "val/patch_dice_ema": dice - 0.01}
        rows.append(
            {"epoch": epoch, "lr": 0.01 * (1 - epoch / epochs) ** 0.9, **loss, **dices, **labels, "seconds": 20.0}
        )
    return tuple(rows)


def full_content(num_cases: int = 60, epochs: int = 50) -> ReportContent:
    """Make a content with everything in it."""
    wave = [math.sin(number) for number in range(num_cases)]
    fingerprint = Fingerprint(
        tuple((round(1.5 + 0.5 * x, 2), 0.8, 0.8) for x in wave),
        tuple((round(60 + 10 * x), round(120 + 20 * x), 128) for x in wave),
        (STATISTICS,),
        0.71,
    )
    plan = Plan(
        "Liver",
        "default",
        ("CT",),
        LABELS,
        (1.5, 0.8, 0.8),
        (60.0, 120.0, 128.0),
        (0, 1, 2),
        (0, 1, 2),
        (STATISTICS,),
        {"3d_fullres": CONFIGURATION},
    )
    dice = {
        "liver & <bile>": tuple(0.95 + 0.03 * x for x in wave),
        "tumor $x$": (math.nan, *(0.7 + 0.2 * x for x in wave[1:])),
    }
    per_label = {"liver & <bile>": 0.9511, "tumor $x$": 0.6984}
    return ReportContent(
        dataset_name="Liver <script>alert(1)</script>",
        run_name="main",
        num_cases=num_cases,
        channel_names=("CT",),
        labels=LABELS,
        fingerprint=fingerprint,
        plan=plan,
        num_parameters={"3d_fullres": 1_274_694},
        networks={"main/3d_fullres": CONFIGURATION},
        curves=(FoldCurves("3d_fullres", "0", curve_rows(epochs)), FoldCurves("3d_fullres", "1", curve_rows(epochs))),
        validations=(ValidationScores("3d_fullres", ("0", "1"), dice),),
        candidates=(
            CandidateScore("2d", 60, 0.7512, {"liver & <bile>": 0.91, "tumor $x$": 0.5924}),
            CandidateScore("3d_fullres", 60, 0.8248, per_label),
        ),
        winner="3d_fullres",
        choice=Choice(
            "3d_fullres", 2, num_cases, ("0", "1"), 0.8248, 0.8213, {"liver & <bile>": 0.95, "tumor $x$": 0.69}
        ),
        winner_scores=ValidationScores("3d_fullres", ("0", "1"), dice),
        reasons={
            "dataset_name": "Here: for 8 GB of GPU memory.",
            "configurations.3d_fullres.spacing": "Here: the median of 60 cases is 1.5 x 0.8 x 0.8 mm, >= 0.8 mm.",
        },
        plan_notes=("3d_fullres: batch_size differ from what was planned.",),
        runs=(
            RunCost("3d_fullres", "0", 1000, "epochs", 7200.0, 6900.0, "one GPU", 3.25, 7.5, {"PyTorch": "2.9.1"}),
            RunCost("3d_fullres", "1", 500, "early (no progress)", 90.0),
        ),
        confusion=ConfusionOf("3d_fullres", Confusion((0, 1, 2), ((980, 15, 5), (10, 90, 0), (30, 10, 60))), num_cases),
        versions={"segfw": "0.1.0", "torch": "2.9.1"},
    )


def large_content(labels: LabelSet, viewed: tuple[ViewedCase, ...]) -> ReportContent:
    """Make a content of 10 000 cases, four configurations of five folds, and a thousand epochs each."""
    names = [name for name, _ in labels.foreground]
    configurations = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
    rows = tuple({**row, **{f"val/patch_dice/{name}": 0.5 for name in names}} for row in curve_rows(1000))
    dice = {name: tuple(0.5 + 0.4 * math.sin(k * (i + 1)) for i in range(10_000)) for k, name in enumerate(names, 1)}
    measures = {"nsd": dice, "hd95_mm": dice}
    size = len(names) + 1
    counts = tuple(tuple(1000 * i + j for j in range(size)) for i in range(size))
    folds = [(name, str(fold)) for name in configurations for fold in range(5)]
    return ReportContent(
        dataset_name="Large",
        run_name="main",
        num_cases=10_000,
        channel_names=("CT",),
        labels=labels,
        fingerprint=Fingerprint(((1.5, 0.8, 0.8),) * 10_000, ((60, 120, 128),) * 10_000, (STATISTICS,), 0.71),
        curves=tuple(FoldCurves(name, fold, rows) for name, fold in folds),
        runs=tuple(RunCost(name, fold, 1000, "epochs", 7200.0, 6900.0) for name, fold in folds * 20),
        validations=tuple(ValidationScores(name, ("0", "1"), dice, measures) for name in configurations),
        winner_scores=ValidationScores("2d", ("0", "1"), dice),
        candidates=tuple(CandidateScore(f"variant {n}", 10_000, 0.5, dict.fromkeys(names, 0.5)) for n in range(500)),
        confusion=ConfusionOf("2d", Confusion(tuple(range(size)), counts), 10_000),
        viewed=viewed,
    )
