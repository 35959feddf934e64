"""The settings of the verbs besides the main job, declared like those of `settings`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from segfw.core.settings.declaring import setting
from segfw.core.settings.schema import DRY_RUN, ExecutorSettings, TaskSettings, VerifySettings
from segfw.core.support.addresses import DATA_CACHE, MODEL_CACHE


@dataclass(frozen=True)
class InferenceOverrides:
    """How whole images are segmented, where it shall differ from what the model was validated with."""

    step_size: float | None = setting(None, "distance of windows, share of the window; None: the model's own")
    mirror: bool | None = setting(None, "average over mirrored passes; None: as the model was validated")
    window_batch_size: int | None = setting(None, "windows computed at once; None: the model's own")
    folds: Any = setting(None, "members to use: a fold, a list of folds, or full; None: the model's own")
    depth: int | None = setting(None, "unet_plus_plus: cut the network at this depth; None: the model's own")
    uncertainty: bool | None = setting(None, "also write <case>_uncertainty.nii.gz; None: the model's own")
    samples: int | None = setting(None, "bayesian_unet: Monte Carlo samples; None: the model's own")
    seed: int | None = setting(None, "seed of the Monte Carlo samples; None: the model's own")
    probabilities: bool | None = setting(None, "also write <case>_probabilities.npy; None: the model's own")
    memory_gb: float | None = setting(None, "GB a case may take of the host and of the GPU each; None: as is free")
    postprocessing: bool | None = setting(None, "apply the model's postprocessing; None: as the model says, false: not")
    output_format: Literal["nii.gz", "nii", "nrrd", "mha", "tif", "png", "dicom_seg"] | None = setting(
        None, "of the segmentations; None: that of the image, for DICOM .nii.gz with a DICOM-SEG beside it"
    )
    trust_code: bool = setting(False, "import the network that the model names, if it is none of this package's")


@dataclass(frozen=True)
class PredictSettings:
    """Segment new images with a packaged model."""

    model: str | None = setting(None, "model folder or .zip, or https:// address of a .zip", literal=True)
    model_sha256: str | None = setting(None, "SHA-256 of the .zip, hexadecimal; an address needs it", literal=True)
    model_cache: str = setting(MODEL_CACHE, "where a fetched model is kept", literal=True)
    input: str | None = setting(
        None, "an image, a folder of them or of DICOM series, a CSV; or its address", literal=True
    )
    data_cache: str = setting(DATA_CACHE, "where images that are read from addresses are kept", literal=True)
    output: str | None = setting(None, "folder for the segmentations (a file when the input is one file)", literal=True)
    overwrite: bool = setting(False, "segment again what is already there")
    accelerator: str = setting("auto", "auto, cpu, gpu, mps")
    devices: int | str | tuple[int, ...] = setting(1, "how many share the cases; [0, 2]: these; auto: all")
    threads: int | None = setting(None, "CPU threads of PyTorch, for each device; None shares the available cores")
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    inference: InferenceOverrides = field(default_factory=InferenceOverrides)


@dataclass(frozen=True)
class ExportSettings:
    """Write a packaged model in a form that others take."""

    model: str | None = setting(None, "model folder or .zip", literal=True)
    format: Literal["zip", "onnx", "nnunet"] | None = setting(
        None, "zip: one file to share; onnx: a folder for onnxruntime; nnunet: a folder that nnU-Net predicts from"
    )
    output: str | None = setting(None, "file (zip) or folder to write", literal=True)
    overwrite: bool = setting(False, "replace an earlier export")
    trust_code: bool = setting(False, "onnx: import the network that the model names, if it is none of this package's")


@dataclass(frozen=True)
class EvaluateSettings:
    """Score segmentations against references."""

    predictions: str | None = setting(None, "folder of predicted label maps", literal=True)
    references: str | None = setting(None, "folder of reference label maps, same file names", literal=True)
    output: str | None = setting(
        None,
        "FILE.json or FILE.csv: both are written, and nnU-Net's summary beside; None: metrics in predictions",
        literal=True,
    )
    labels: dict[str, Any] | None = setting(None, "name -> value; default: every value above 0 that occurs")
    remap: dict[str, Any] | None = setting(None, "value in the references -> value to use, like that in predictions")
    metrics: Literal["all", "overlap"] = setting(
        "all", "overlap: Dice, IoU and counts of voxels; all: also HD95, ASSD, NSD, volume errors and lesions"
    )
    tolerance_mm: float = setting(1.0, "distance between surfaces that NSD forgives, in mm")
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)


@dataclass(frozen=True)
class CompareSettings:
    """Set finished trainings side by side."""

    runs: tuple[str, ...] | None = setting(
        None,
        "two or more folders: a fold's, a configuration's (its finished folds together), or runs/NAME if it holds one",
        literal=True,
    )
    output: str | None = setting(None, "also write all of it: FILE.json or FILE.csv", literal=True)
    group_pattern: str | None = setting(
        None, "regular expression that finds the patient in case names: a patient's cases are one pair", literal=True
    )


@dataclass(frozen=True)
class VerificationSettings:
    """Check a dataset by itself."""

    task: TaskSettings = field(default_factory=TaskSettings)
    data_root: str = setting("data", "where datasets lie: a folder, or an address such as s3://BUCKET", literal=True)
    data_cache: str = setting(DATA_CACHE, "where files that are read from addresses are kept", literal=True)
    output_root: str = setting("outputs", "where verification.json goes, under the task's name", literal=True)
    verify: VerifySettings = field(default_factory=VerifySettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    dry_run: bool = setting(False, DRY_RUN)


@dataclass(frozen=True)
class DownloadSettings:
    """Fetch a dataset."""

    task: TaskSettings = field(default_factory=TaskSettings)
    data_root: str = setting("data", "folder to unpack into", literal=True)
    dry_run: bool = setting(False, DRY_RUN)


@dataclass(frozen=True)
class ImportSettings:
    """Make a packaged model of one that nnU-Net v2 has trained."""

    source: str | None = setting(None, "nnU-Net's trained-model folder or its export zip", literal=True)
    output: str | None = setting(None, "folder for the model", literal=True)
    configuration: str | tuple[str, ...] | None = setting(
        None, "of several models in the source: a configuration or a model's folder; a list is averaged"
    )
    checkpoint: Literal["final", "best", "latest"] = setting("final", "which of each fold's checkpoints")
    folds: Any = setting(None, "a fold, full (nnU-Net's all), or a list of these; None: every numbered fold, else full")
    overwrite: bool = setting(False, "replace a model at output")


@dataclass(frozen=True)
class InitSettings:
    """Describe two folders of images and label maps as a task."""

    images: str | None = setting(None, "folder of images", literal=True)
    labels: str | None = setting(None, "folder of label maps", literal=True)
    name: str | None = setting(None, "name of the task and of its file")
    modality: str | None = setting(None, "CT, MRI, PET, X-ray, ultrasound, microscopy, ...; one word for every channel")
    config_dir: str = setting("configs", "folder whose task/ gets the task file; ./configs is searched", literal=True)
    overwrite: bool = setting(False, "replace a task file of that name")
    workers: int | None = setting(None, "processes that read label values; None chooses, 0 works in the main process")
