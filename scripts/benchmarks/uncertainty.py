"""Does the uncertainty map find the errors? On held-out cases, for fold disagreement and for Monte Carlo dropout.

python -m scripts.benchmarks.uncertainty --data DATA --work WORK [--iterations 600]

The 208 training cases of Hippocampus's fold 0 are split into three folds of their own; the model of all three predicts
the 52 held-out cases, which none of its members has seen (`disagreement`). A `bayesian_unet` is trained on one of these
folds and predicts them by 16 samples of dropout (`monte_carlo`). Of every case: the area under the ROC curve of the
map as a detector of wrong voxels, among all voxels and among those within two voxels of the predicted surface, and the
expected calibration error of the probabilities (15 bins, foreground or predicted foreground). The table of cases is
results/uncertainty_cases.csv; the last lines printed are the means.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.stats import rankdata

from scripts.benchmarks.accuracy_figures import RESULTS, load, mean, shown, table, write_table
from scripts.benchmarks.accuracy_ours import Folders, task_words
from scripts.benchmarks.common import keep_origin
from segfw.core.types import BoolArray, FloatArray, IntArray

TABLE = RESULTS / "uncertainty_cases.csv"
NAME = "Hippocampus"
FEATURES = "plan.features_per_stage=[16,32,64,128]"
BINS = 15
NEAR = 2  # voxels
SAMPLES = 16
METHODS = {"disagreement": ("unet", "[0,1,2]"), "monte_carlo": ("bayesian_unet", "0")}
TOLD = {"disagreement": "disagreement of three folds", "monte_carlo": f"Monte Carlo dropout, {SAMPLES} samples"}
COLUMNS = {
    "auroc": "AUROC, all voxels",
    "auroc_near": "AUROC near the surface",
    "auroc_confidence_near": "there, of 1 - highest probability",
    "calibration_error": "calibration error",
}


def auroc(scores: FloatArray, wrong: BoolArray) -> float | None:
    """Return the probability that a wrong voxel has a higher score than a right one; None without one of either."""
    positives, negatives = int(wrong.sum()), int((~wrong).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return float((ranks[wrong].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_error(confidence: FloatArray, right: BoolArray) -> float:
    """Return the mean distance of confidence and accuracy over 15 bins of confidence, weighted by voxels."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    total = 0.0
    for number in np.unique(bins):
        inside = bins == number
        total += inside.sum() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return total / confidence.size


def near_surface(label: IntArray) -> BoolArray:
    """Return the voxels within two steps of a change of label."""
    changes = ndimage.maximum_filter(label, 3) != ndimage.minimum_filter(label, 3)
    return np.asarray(ndimage.binary_dilation(changes, iterations=NEAR - 1))


def judge(folder: Path, reference: Path) -> dict[str, object]:
    """Score one predicted case."""
    case = reference.name.removesuffix(".nii.gz")
    truth, label, doubt = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in (reference, folder / reference.name, folder / f"{case}_uncertainty.nii.gz")
    )
    probabilities = np.load(folder / f"{case}_probabilities.npy").astype(np.float32)
    wrong, near, region = label != truth, near_surface(label), (label > 0) | (truth > 0)
    confidence = probabilities.max(0)
    return {
        "case": case,
        "auroc": auroc(doubt.ravel(), wrong.ravel()),
        "auroc_near": auroc(doubt[near], wrong[near]),
        "auroc_confidence_near": auroc(-confidence[near], wrong[near]),
        "calibration_error": calibration_error(confidence[region], ~wrong[region]),
        "wrong": int(wrong.sum()),
    }


def write_training_list(data: Path, work: Path, held_out: list[str]) -> Path:
    """Write a list of the cases that are not held out."""
    path = work / "uncertainty_training.csv"
    folder = data / "Task04_Hippocampus"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "image", "label"])
        for label in sorted((folder / "labelsTr").glob("*.nii.gz")):
            case = label.name.removesuffix(".nii.gz")
            if case not in held_out:
                writer.writerow([case, folder / "imagesTr" / label.name, label])
    return path


def segfw(*words: str) -> None:
    """Run a command of segfw, its words shown."""
    subprocess.run([sys.executable, "-m", "segfw", *words], check=True)


def main() -> None:
    """Train both models, predict the held-out cases, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with Task04_Hippocampus")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--iterations", type=int, default=600, help="a multiple of 20")
    options = parser.parse_args()
    os.environ.update(OMP_WAIT_POLICY="passive", WANDB_MODE="disabled")
    data, work = options.data.absolute(), options.work.absolute()
    segfw(*task_words(NAME, Folders(data, work)), "stages=[fingerprint]")
    splits = json.loads((work / "outputs" / NAME / "splits.json").read_text(encoding="utf-8"))
    held_out = splits[0]["val"]
    listing = write_training_list(data, work, held_out)
    images = work / "held_out"
    images.mkdir(exist_ok=True)
    for case in held_out:
        link = images / f"{case}.nii.gz"
        link.unlink(missing_ok=True)
        link.symlink_to(data / "Task04_Hippocampus" / "imagesTr" / link.name)
    lines = []
    for method, (network, folds) in METHODS.items():
        segfw(
            *("task.name=Uncertainty", f"task.folder={listing}", "task.modality=MRI"),
            *("task.labels={background: 0, Anterior: 1, Posterior: 2}", "split.num_folds=3", f"folds={folds}"),
            *(
                f"output_root={work / 'outputs'}",
                "experiment=fast",
                "configurations=[3d_fullres]",
                f"network={network}",
            ),
            *("plan.batch_size=2", FEATURES, f"trainer.limit_train_batches={options.iterations // 20}"),
            *(f"name={method}", "trainer.enable_progress_bar=false"),
        )
        output = work / "predicted" / method
        segfw(
            *("predict", f"model={work / 'outputs' / 'Uncertainty' / 'models' / method}", f"input={images}"),
            *(f"output={output}", "inference.uncertainty=true", "inference.probabilities=true", "overwrite=true"),
            *([f"inference.samples={SAMPLES}"] if method == "monte_carlo" else []),
        )
        references = [data / "Task04_Hippocampus" / "labelsTr" / f"{case}.nii.gz" for case in held_out]
        lines += [{"method": method, **judge(output, reference)} for reference in references]
    write_table(TABLE, lines)
    keep_origin(TABLE, "segfw", "torch")
    print(uncertainty())


def uncertainty() -> str:
    """Return the table of both methods: means over the held-out cases where a figure is defined."""
    lines = load(TABLE)
    rows = []
    for method in dict.fromkeys(line["method"] for line in lines):
        mine = [line for line in lines if line["method"] == method]
        figures = [shown(mean(mine, column), 3) for column in COLUMNS]
        rows.append([TOLD[method], *figures, shown(mean(mine, "wrong"), 0), str(len(mine))])
    return table(["uncertainty by", *COLUMNS.values(), "wrong voxels a case", "cases"], rows)


if __name__ == "__main__":
    main()
