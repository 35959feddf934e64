"""Folder `Toy` in either layout, of empty files: layouts look at names only."""

import json

from segfw.core.settings.schema import TaskSettings

NNUNET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "a": 1},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
ONE_CHANNEL = NNUNET | {"channel_names": {"0": "CT"}}
DECATHLON = {
    "name": "Toy",
    "licence": "CC0",
    "reference": "Somewhere",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "left", "2": "right"},
    "numTraining": 2,
    "training": [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in ("toy_2", "toy_10")
    ],
}
TASK = TaskSettings(name="Toy")


def make(root, description, images=(), labels=(), label_folder="labelsTr"):
    """Lay out the named files below `root` and return the folder."""
    folder = root / "Toy"
    for sub, names in (("imagesTr", images), (label_folder, labels)):
        (folder / sub).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / sub / name).touch()
    if description is not None:
        (folder / "dataset.json").write_text(json.dumps(description))
    return folder
