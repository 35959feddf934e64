"""nnU-Net's side of the preprocessing benchmark; runs in its environment, which has no segfw.

preprocess_peer.py case FOLDER NAME          read, preprocess and save one case by FOLDER/plans.json
preprocess_peer.py export TRUNCATED TARGET   turn a saved case into an npz file of image and label
"""

import json
import sys
from pathlib import Path

import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


def case(folder: Path, name: str) -> None:
    """Preprocess one case with nnU-Net's own preprocessor."""
    dataset = json.loads((folder / "dataset.json").read_text())
    plans = PlansManager(str(folder / "plans.json"))
    target = folder / "theirs"
    target.mkdir(exist_ok=True)
    DefaultPreprocessor(verbose=False).run_case_save(
        str(target / name),
        [str(folder / "image.nii.gz")],
        str(folder / "label.nii.gz"),
        plans,
        plans.get_configuration("3d_fullres"),
        dataset,
    )


def export(truncated: Path, target: Path) -> None:
    """Read a saved case through nnU-Net's own dataset."""
    image, label, *_ = nnUNetDatasetBlosc2(str(truncated.parent), [truncated.name]).load_case(truncated.name)
    np.savez(target, image=np.asarray(image[:]), label=np.asarray(label[:]))


if __name__ == "__main__":
    verb, first, second = sys.argv[1:]
    if verb == "case":
        case(Path(first), second)
    else:
        export(Path(first), Path(second))
