"""nnU-Net's side of the inference benchmark; runs in its environment, which has no segfw.

inference_peer.py predict MODEL INPUT OUTPUT PROCESSES THREADS   segment a folder; 0 processes: its sequential way
inference_peer.py export FOLDER HEADS THREADS                    bring FOLDER's logits back to the image's grid
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape as convert
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


def predict(model: str, source: str, output: str, processes: int) -> None:
    """Predict by its own predictor with its defaults: mirrored, half a window's steps."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(model, None)
    if processes:
        predictor.predict_from_files(
            source, output, num_processes_preprocessing=processes, num_processes_segmentation_export=processes
        )
    else:
        Path(output).mkdir(exist_ok=True)  # which this way does not see to
        predictor.predict_from_files_sequential(source, output)


def export(folder: Path, heads: int, threads: int) -> None:
    """Decode float16 logits on the network's grid."""
    case = json.loads((folder / "case.json").read_text())
    plans = PlansManager(str(folder / f"{heads}" / "plans.json"))
    labels = plans.get_label_manager(json.loads((folder / f"{heads}" / "dataset.json").read_text()))
    count = heads * int(np.prod(case["grid"]))
    logits = np.fromfile(folder / "logits.raw", np.float16, count).reshape(heads, *case["grid"])
    properties = {
        "spacing": case["spacing"],
        "shape_before_cropping": case["shape"],
        "shape_after_cropping_and_before_resampling": case["shape"],
        "bbox_used_for_cropping": [[0, size] for size in case["shape"]],
    }
    configuration = plans.get_configuration("3d_fullres")
    segmentation = convert(logits, plans, configuration, labels, properties, num_threads_torch=threads)
    np.save(folder / f"theirs_{heads}.npy", segmentation)


if __name__ == "__main__":
    verb, *words, number = sys.argv[1:]
    torch.set_num_threads(int(number))
    if verb == "predict":
        predict(*words[:3], processes=int(words[3]))
    else:
        export(Path(words[0]), int(words[1]), int(number))
