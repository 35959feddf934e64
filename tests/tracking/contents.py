"""Report contents of an invented dataset."""

import math

from segfw.core.labels import LabelSet
from segfw.core.plan import Configuration, Fingerprint, IntensityStatistics, Plan
from segfw.tracking.report import FoldCurves, ReportContent, ValidationScores
from segfw.tracking.selection_table import CandidateScore

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
        versions={"segfw": "0.1.0", "torch": "2.9.1"},
    )
