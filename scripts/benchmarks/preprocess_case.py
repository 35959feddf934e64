"""Our side of the CT benchmark: preprocess_case.py FOLDER NAME reads, preprocesses and saves one case."""

import sys
from pathlib import Path

from segfw.core.imaging.preprocessing import preprocess_case
from segfw.data.case_files import save_case
from segfw.interop.nnunet import read_plans
from segfw.io.formats.readers import read_image, read_label

folder, name = Path(sys.argv[1]), sys.argv[2]
plan = read_plans(folder / "plans.json")
image, label = read_image([folder / "image.nii.gz"]), read_label(folder / "label.nii.gz")
(folder / "ours").mkdir(exist_ok=True)
save_case(folder / "ours", name, preprocess_case(image, label, plan, plan.configuration("3d_fullres")))
