"""Our side of the export: inference_case.py FOLDER HEADS THREADS brings FOLDER's logits back to the image's grid."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from segfw.core.imaging.preprocessing import CropRecord
from segfw.inference.restoring import restore_segmentation
from segfw.interop.nnunet import read_plans

folder, heads = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
case = json.loads((folder / "case.json").read_text())
grid, shape = tuple(case["grid"]), tuple(case["shape"])
plan = read_plans(folder / f"{heads}" / "plans.json")
logits = np.fromfile(folder / "logits.raw", np.float16, heads * int(np.prod(grid))).reshape(heads, *grid)
record = CropRecord(tuple(case["spacing"]), shape, tuple((0, size) for size in shape), shape, grid)
np.save(folder / f"ours_{heads}.npy", restore_segmentation(logits, record, plan, plan.configuration("3d_fullres")))
