"""What `from segfw import ...` hands out: the method from Python, with paths, images or arrays in and out.

No worker process and no `if __name__ == "__main__"` guard is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segfw.core.cases.dataset import Dataset
from segfw.core.errors import DataError, UsageError
from segfw.core.plan import Fingerprint
from segfw.core.scoring.metrics import TOLERANCE_MM, Summary
from segfw.core.settings.schema import ExecutorSettings, TaskSettings
from segfw.core.settings.verbs import InferenceOverrides
from segfw.core.types import Volume
from segfw.inference.predictor import CasePredictor, Prediction
from segfw.io.datasets.layouts import read_dataset, require_files
from segfw.io.formats.images import image_from_label, image_on_grid, volume_from_image
from segfw.stages.fingerprint import make_fingerprint as fingerprint_cases
from segfw.stages.inspection import evaluate as evaluate_stage
from segfw.stages.prediction.devices import open_predictor
from segfw.stages.prediction.inputs import read_input

__all__ = ["Predictor", "Result", "evaluate", "load_dataset", "make_fingerprint", "read_volume"]


@dataclass(frozen=True, eq=False)
class Result:
    """What a prediction gives.

    `segmentation`: on the image's own grid; a SimpleITK image for a path or a SimpleITK image, a `torchio.LabelMap`
    for a torchio image, an array (Z, Y, X) for an array. `probabilities`: (heads, Z, Y, X) float32 when asked for,
    else None. `uncertainty`: epistemic, in nats (`segfw.inference.uncertainty`), in the segmentation's form with real
    values (a `torchio.ScalarImage` for a torchio image) when asked for, else None.
    """

    segmentation: Any
    probabilities: NDArray[np.float32] | None
    uncertainty: Any = None


class Predictor:
    """A packaged model, ready to segment."""

    def __init__(self, cases: CasePredictor) -> None:
        self._cases = cases

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        settings: InferenceOverrides | None = None,
        threads: int | None = None,
        trust_code: bool = False,
    ) -> "Predictor":
        """Open a model folder or `.zip`.

        `device`: auto, cpu, gpu or mps; `settings`: what shall differ from how the model was validated; `threads`: of
        the CPU, None for all; `trust_code`: import networks that are not part of this package, if the model names any.
        """
        if settings is not None and settings.output_format is not None:
            raise UsageError(
                f"output_format={settings.output_format} is for files that the command writes; a Predictor returns "
                "what it is given: an array for an array, an image for an image"
            )
        return cls(open_predictor(Path(path), device, threads, settings, trust_code))

    @property
    def num_channels(self) -> int:
        """Image channels that the model takes."""
        return len(self._cases.bundle.plan.channel_names)

    @property
    def labels(self) -> dict[str, int | tuple[int, ...]]:
        """Name -> value, or values of a region, of what the model segments."""
        return dict(self._cases.bundle.plan.labels.values)

    def predict_volume(
        self, volume: Volume, probabilities: bool = False, uncertainty: bool | None = None
    ) -> Prediction:
        """Segment a `Volume` (C, Z, Y, X)."""
        return self._cases.predict(volume, probabilities, uncertainty)

    def predict(
        self,
        image: Any,
        spacing: Sequence[float] | None = None,
        probabilities: bool = False,
        uncertainty: bool | None = None,
    ) -> Result:
        """Segment `image`: a path (or one per channel), a SimpleITK or torchio image, or an array with `spacing`.

        Arrays are (C, Z, Y, X) or, for one channel, (Z, Y, X); `spacing` in millimetres, one value per spatial axis
        in the array's order. `uncertainty`: None follows the settings. Raises `DataError` for an image the model cannot
        take, `UsageError` for an array without spacing and for uncertainty of a model that has none.
        """
        if isinstance(image, np.ndarray):
            volume = _volume_of_array(image, spacing)
            prediction = self.predict_volume(volume, probabilities, uncertainty)
            return Result(prediction.segmentation, prediction.probabilities, prediction.uncertainty)
        if hasattr(image, "as_sitk"):
            volume = volume_from_image(image.as_sitk())
            return _torchio_result(image, self.predict_volume(volume, probabilities, uncertainty))
        volume = volume_from_image(image) if hasattr(image, "GetDirection") else read_input(_paths(image))
        prediction = self.predict_volume(volume, probabilities, uncertainty)
        if volume.geometry is None:
            raise DataError("the image states no geometry")
        unsure = None if prediction.uncertainty is None else image_on_grid(prediction.uncertainty, volume.geometry)
        return Result(image_from_label(prediction.segmentation, volume.geometry), prediction.probabilities, unsure)


def _volume_of_array(array: NDArray[Any], spacing: Sequence[float] | None) -> Volume:
    if spacing is None:
        raise UsageError("an array needs spacing=(z, y, x) in millimetres")
    array = array[None] if array.ndim == 3 else array
    return Volume(np.ascontiguousarray(array, np.float32), tuple(float(s) for s in spacing))


def _torchio_result(image: Any, prediction: Prediction) -> Result:
    """Return maps as torchio has them: (1, X, Y, Z), on the image's grid."""
    import torchio

    def tensor(values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values).permute(2, 1, 0)[None]

    label = torchio.LabelMap(tensor=tensor(prediction.segmentation.astype(np.int16)), affine=image.affine)
    unsure = None
    if prediction.uncertainty is not None:
        unsure = torchio.ScalarImage(tensor=tensor(prediction.uncertainty), affine=image.affine)
    return Result(label, prediction.probabilities, unsure)


def read_volume(path: str | Path | Sequence[str | Path]) -> Volume:
    """Read an image; several paths are the channels of one image. `DataError` where voxels are NaN or infinite."""
    return read_input(_paths(path))


def load_dataset(folder: str | Path, name: str | None = None) -> Dataset:
    """Read the description and the files of a dataset folder (Decathlon or nnU-Net v2 layout), or of a list of files.

    Raises `DataError` that names what is missing.
    """
    folder = Path(folder)
    name = name or (folder.name if folder.is_dir() else folder.stem)
    dataset = read_dataset(TaskSettings(name=name, folder=str(folder.absolute())), folder.parent)
    require_files(dataset)
    return dataset


def make_fingerprint(dataset: Dataset, workers: int = 0, scratch: str | Path = ".") -> Fingerprint:
    """Look at every case of `dataset`; sampled voxels (0.4 GB per channel) pass through a file in `scratch`."""
    return fingerprint_cases(dataset, ExecutorSettings(workers=workers), Path(scratch))


def evaluate(
    predictions: str | Path,
    references: str | Path,
    labels: Mapping[str, Any] | None = None,
    workers: int = 0,
    tolerance_mm: float | None = TOLERANCE_MM,
    remap: Mapping[int, int] | None = None,
) -> Summary:
    """Score a folder of segmentations against references of the same file names.

    `tolerance_mm`: what NSD forgives; None counts voxels and measures neither distances, volumes nor lesions.
    `remap`: value in the references -> value to use, as `task.remap` was given to the training.
    """
    return evaluate_stage.evaluate(
        Path(predictions), Path(references), labels, ExecutorSettings(workers=workers), tolerance_mm, remap
    )


def _paths(image: Any) -> tuple[Path, ...]:
    if isinstance(image, str | Path):
        return (Path(image),)
    if isinstance(image, Sequence) and image and all(isinstance(p, str | Path) for p in image):
        return tuple(Path(p) for p in image)
    raise UsageError(
        f"an image is a path, a list of paths, a SimpleITK or torchio image, or an array, got {type(image).__name__}"
    )
