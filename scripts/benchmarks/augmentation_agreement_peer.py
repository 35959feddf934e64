"""nnU-Net's side of the comparison of augmentations; runs in its environment, which has no segfw.

augmentation_agreement_peer.py TARGET COUNT '{"3d": {"loader": [...], "rotation": degrees}, ...}'
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from augmentation_changes import CASES, TRANSFORMS, center, make_patch, note_changes
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


def draw_with(transforms, image, label):
    """Return a function that applies `transforms` a number of times."""

    def draw(count):
        results = []
        for _ in range(count):
            data = {"image": torch.from_numpy(image.copy()), "segmentation": torch.from_numpy(label.copy())}
            for transform in transforms:
                data = transform(**data)
            results.append((data["image"].numpy(), data["segmentation"].numpy()))
        return results

    return draw


def compare(target, count, asked):
    """Note what each of nnU-Net's transforms does to the patch of each case."""
    noted = {}
    for name, (size, in_plane) in CASES.items():
        image, label = make_patch(tuple(asked[name]["loader"]))
        before, inner = center(image, size), center(label, size)
        angle = math.radians(asked[name]["rotation"])
        axes = tuple(range(len(size)))
        every = nnUNetTrainer.get_training_transforms(size, (-angle, angle), None, axes, in_plane).transforms
        first = 3 if in_plane else 1
        noted[name] = {"spatial": note_changes(before, draw_with(every[:first], image, label), count)}
        for transform, one in zip(TRANSFORMS, every[first:], strict=False):
            noted[name][transform] = note_changes(before, draw_with([one], before, inner), count)
    Path(target).write_text(json.dumps(noted))


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    np.random.seed(1)
    compare(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
