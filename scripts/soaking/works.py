"""The commands that are killed, each a few seconds long when nobody disturbs it, and how far one is by what it says."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

CASES, SHAPE = 6, (20, 24, 22)
STARTING = "starting"
TINY = (
    "task.name=Soak",
    "task.modality=MRI",
    "task.labels={background: 0, ball: 1}",
    "split.num_folds=2",
    "configurations=[3d_fullres]",
    "folds=0",
    "plan.patch_size=[16,16,16]",
    "plan.features_per_stage=[4,8,8]",
    "plan.batch_size=2",
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=6",
    "trainer.limit_val_batches=1",
    "trainer.checkpoint_minutes=0.001",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "inference.mirror=false",
)


@dataclass(frozen=True)
class Work:
    """A command: `words` after `python -m segfw`, `{out}` standing for its output folder.

    `stages`: the name of each and, as a pattern, the line with which it begins; the first begins with the process.
    `reference`: the work whose undisturbed result it must reach; None for its own.
    """

    name: str
    words: tuple[str, ...]
    stages: tuple[tuple[str, str], ...]
    reference: str | None = None

    def words_for(self, output: Path) -> list[str]:
        """Return the words of the command line for one output folder."""
        return [word.replace("{out}", str(output)) for word in self.words]

    def stages_of(self, lines: Iterable[str]) -> list[int]:
        """Return the number of the stage that each of the `lines` begins, in their order; others begin none."""
        patterns = [re.compile(pattern) for _, pattern in self.stages[1:]]
        found = ((number for number, one in enumerate(patterns, 1) if one.search(line)) for line in lines)
        return [number for number in (next(each, 0) for each in found) if number]

    def stage(self, number: int) -> str:
        """Return a stage's name."""
        return self.stages[number][0]


MAIN_STAGES = (
    (STARTING, ""),
    ("dataset", r"^settings:"),
    ("fingerprint", r"^splits:"),
    ("plan", r"^fingerprint: "),
    ("preprocess", r"^plan: (wrote|nothing)"),
    ("before a fold", r"^preprocess.*(wrote|nothing)|^train \S+ fold \d+: finished"),
    ("training", r"fold \d+: \d+ training"),
    ("validation", r"^epoch 3/3|^validation "),
    ("select", r"^train: (wrote|nothing)"),
    ("report", r"^select: (wrote|nothing)"),
    ("ending", r"^report: (wrote|nothing)|^done in"),
)
PREDICT_STAGES = ((STARTING, ""), ("predicting", r"^predict: \d+ cases"), ("ending", r"^predict: \d+ done"))
DEMO_STAGES = (
    (STARTING, ""),
    ("making the data", r"^settings:"),
    ("fingerprint", r"^splits:"),
    ("ending", r"^fingerprint: "),
)


def works(data: Path, model: Path) -> dict[str, Work]:
    """Return the works by name; `data` is what `write_dataset` has made, `model` what predicts."""
    main = ("task.folder=" + str(data), "output_root={out}", *TINY)
    in_line, apart = ("data.workers=0", "executor.workers=0"), ("data.workers=1", "executor.workers=1")
    predict = ("predict", f"model={model}", f"input={data / 'many'}", "output={out}", "accelerator=cpu", "threads=1")
    demo = ("+task=Demo", "stages=[fingerprint]", "data_root={out}/data", "output_root={out}", "executor.workers=1")
    several = ("data.workers=0", "executor.workers=0", "trainer.devices=2", "split.seed=1")
    listed = (
        Work("main", (*main, *in_line), MAIN_STAGES),
        Work("workers", (*main, *apart), MAIN_STAGES, "main"),
        Work("devices", (*main, *several), MAIN_STAGES),
        Work("predict", predict, PREDICT_STAGES),
        Work("demo", demo, DEMO_STAGES),
    )
    return {work.name: work for work in listed}


def write_dataset(folder: Path, seed: int = 0) -> None:
    """Write a bright ball in noise per case, in the layout of nnU-Net; beside it `many`, images to predict."""
    for kind in ("imagesTr", "labelsTr", "many"):
        (folder / kind).mkdir(parents=True)
    for number in range(CASES):
        image, label = draw_ball(np.random.default_rng((seed, number)))
        for kind, array, name in (("imagesTr", image, "_0000"), ("labelsTr", label, "")):
            picture = sitk.GetImageFromArray(array)
            picture.SetSpacing((1.0, 1.0, 1.2))
            sitk.WriteImage(picture, str(folder / kind / f"ball_{number}{name}.nii.gz"))
        for copy in range(2):
            shutil.copy(
                folder / f"imagesTr/ball_{number}_0000.nii.gz", folder / f"many/ball_{number}{copy}_0000.nii.gz"
            )
    text = '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "ball": 1}, '
    (folder / "dataset.json").write_text(text + f'"numTraining": {CASES}, "file_ending": ".nii.gz"}}\n')


def draw_ball(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw an image and its label map (Z, Y, X)."""
    center = np.array(SHAPE) / 2 + rng.uniform(-3, 3, 3)
    positions = np.moveaxis(np.mgrid[tuple(slice(n) for n in SHAPE)], 0, -1)
    inside = ((positions - center) ** 2).sum(-1) <= rng.uniform(4, 6) ** 2
    return (inside * 3.0 + rng.normal(0, 1, SHAPE)).astype(np.float32), inside.astype(np.uint8)
