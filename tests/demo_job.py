"""The main job on the demonstration's images, so small that it takes seconds, and how to look at what it leaves."""

from pathlib import Path

import SimpleITK as sitk

TINY = (
    "+task=Demo",
    "experiment=published",
    "configurations=[3d_fullres]",
    "folds=0",
    "plan.patch_size=[24,24,24]",
    "plan.features_per_stage=[4,8,8,8]",
    "plan.batch_size=2",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
    "inference.mirror=false",
    "executor.workers=0",
)


def run_folder(output: Path, name: str = "main") -> Path:
    """Return the folder of the first fold's training under a name."""
    return output / "runs" / name / "default" / "planned" / "3d_fullres" / "fold_0"


def state(folder: Path) -> dict[str, int]:
    """Return when each file was written, but for logs."""
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts
    }


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Return whether two images have the same size, spacing, origin and direction."""
    return (
        one.GetSize() == other.GetSize()
        and one.GetSpacing() == other.GetSpacing()
        and one.GetOrigin() == other.GetOrigin()
        and one.GetDirection() == other.GetDirection()
    )
