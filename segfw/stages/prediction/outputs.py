"""What `predict` writes for each case, and where: the segmentation, and beside it what else is asked for."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segfw.core.errors import UsageError
from segfw.core.settings.schema import InferenceSettings
from segfw.core.types import Geometry
from segfw.inference.bundle import Bundle
from segfw.inference.predictor import Prediction
from segfw.io.datasets.listing import UNCERTAINTY, is_image, split_ending
from segfw.io.formats.endings import is_known
from segfw.io.formats.writing import write_map
from segfw.stages.prediction.inputs import is_one_case
from segfw.stages.prediction.segmentations import named_file, segmentation_files, write_segmentation

UNCERTAINTY_MAP = "uncertainty"
PROBABILITIES = "probabilities"
SECOND_FORM = "segmentation"


@dataclass(frozen=True)
class PredictionCase:
    """A case to segment: its name, its image files, the segmentation's file, and by kind what is written beside it.

    `signature`: what the segmentation's file says of how it was made.
    """

    name: str
    images: tuple[Path, ...]
    target: Path
    beside: Mapping[str, Path] = field(default_factory=dict)
    signature: str = ""

    @property
    def segmentations(self) -> tuple[Path, ...]:
        """The files that hold the segmentation, the label map last."""
        second = self.beside.get(SECOND_FORM)
        return (self.target,) if second is None else (second, self.target)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is written for the case: those beside the segmentation, then the segmentation."""
        return (*self.beside.values(), self.target)

    @property
    def is_there(self) -> bool:
        """Whether every one of these files exists."""
        return all(file.exists() for file in self.files)


def plan_outputs(
    images: Mapping[str, tuple[Path, ...]],
    source: Path,
    output: Path,
    settings: InferenceSettings,
    output_format: str | None = None,
) -> list[PredictionCase]:
    """Return a case for each of `images`, found at `source`: into the folder `output`, or to that file for one image.

    `output_format`: None takes that of each image (see `segmentation_files`).

    Raises `UsageError` where segmentations would take the place of images, of one another, or be taken for images.
    """
    targets = _targets(images, source, output, output_format)
    cases = []
    for name, (target, *second) in targets.items():
        beside = files_beside(target, settings)
        if second:
            beside[SECOND_FORM] = second[0]
        cases.append(PredictionCase(name, images[name], target, beside))
    _refuse_clashes(cases)
    if source.is_dir() and output.resolve() == source.resolve():
        raise UsageError(f"output: {output} is the images' own folder; segmentations would be taken for images")
    return cases


def files_beside(target: Path, settings: InferenceSettings) -> dict[str, Path]:
    """Return {kind: file} of what is written beside a segmentation: maps are NIfTI, probabilities numpy's `.npy`."""
    name = split_ending(target)[0] if is_known(target) else target.name
    files = {}
    if settings.uncertainty:
        files[UNCERTAINTY_MAP] = target.with_name(f"{name}{UNCERTAINTY}.nii.gz")
    if settings.probabilities:
        files[PROBABILITIES] = target.with_name(f"{name}_probabilities.npy")
    return files


def write_case(case: PredictionCase, prediction: Prediction, geometry: Geometry, bundle: Bundle) -> None:
    """Write all of a case by the model `bundle`, the segmentation last: with it the case is done."""
    if UNCERTAINTY_MAP in case.beside and prediction.uncertainty is not None:
        write_map(case.beside[UNCERTAINTY_MAP], prediction.uncertainty, geometry)
    files, notes = case.segmentations, case.signature
    write_segmentation(files, prediction.segmentation, geometry, case.images, bundle, notes)


def _targets(
    images: Mapping[str, tuple[Path, ...]], source: Path, output: Path, output_format: str | None
) -> dict[str, tuple[Path, ...]]:
    if is_image(output) and not output.is_dir():
        if not is_one_case(source):
            kind = "a folder" if source.is_dir() else "a table"
            raise UsageError(f"output={output} is a file, but input={source} is {kind}; name a folder")
        return {name: named_file(output, files[0], output_format) for name, files in images.items()}
    return {name: segmentation_files(name, files, output, output_format) for name, files in images.items()}


def _refuse_clashes(cases: list[PredictionCase]) -> None:
    """Raise `UsageError` if a file would take the place of an image, or of a file of another case."""
    images = {path.resolve() for case in cases for path in case.images}
    written = [file for case in cases for file in case.files]
    lost = [file for file in written if file.resolve() in images]
    if lost:
        raise UsageError(f"output: {lost[0]} is one of the images; give another folder, or the images would be lost")
    twice = [file for file, count in Counter(written).items() if count > 1]
    if twice:
        names = sorted({case.name for case in cases if twice[0] in case.files})
        raise UsageError(f"output: {twice[0]} would be written for several cases, {names}; rename one of them")
