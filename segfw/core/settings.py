"""Every setting a user can give, declared once: type, default, unit and meaning.

The classes are frozen values that the whole package reads. `segfw.config` derives from them what OmegaConf needs, the
YAML files under `configs/` name them, and the key reference is printed from `help`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

ConfigurationChoice = Literal["auto"] | tuple[str, ...]
FoldChoice = Literal["cv", "full"] | tuple[int, ...]
SplitKind = Literal["random", "group", "stratified", "leave_one_out"]


ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STAGES = ("fingerprint", "plan", "preprocess", "train", "select", "report")


def setting(default: Any, help: str, literal: bool = False) -> Any:
    """Declare a setting with its default and its meaning (with unit and range).

    `literal`: a path or an address, which the command line takes as it is typed, whatever characters it holds.
    """
    metadata = {"help": help, "literal": literal}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TaskSettings:
    """What a dataset is. What is not given comes from the dataset's own `dataset.json`."""

    name: str | None = setting(None, "name of the dataset; names the folder under output_root")
    folder: str | None = setting(
        None, "folder of the dataset, or a CSV or YAML list of its files; under data_root or absolute", literal=True
    )
    label_folder: str | None = setting(None, "folder of label maps to use instead of labelsTr", literal=True)
    url: str | None = setting(None, "where `download` finds the archive", literal=True)
    md5: str | None = setting(None, "MD5 of the archive, hexadecimal")
    synthetic: Literal["phantom"] | None = setting(None, "make the dataset on first use instead of downloading it")
    channels: tuple[str, ...] | None = setting(None, "name of each channel; decides its normalisation (CT, MRI, ...)")
    labels: dict[str, Any] | None = setting(None, "name -> value, or name -> values of a region")
    regions: dict[str, Any] | None = setting(None, "name -> values; learned as overlapping regions instead of labels")
    regions_class_order: tuple[int, ...] | None = setting(None, "value painted for each region, in painting order")
    remap: dict[str, Any] | None = setting(None, "value in the files -> value to use; renumbers labels and files alike")
    modality: str | None = setting(None, "CT, MRI, PET, X-ray, ...: used where the dataset names no channels")
    normalization: tuple[str | None, ...] | None = setting(
        None, "per channel: ct, zscore, rescale_to_0_1, rgb_to_0_1, nonorm; null follows the channel's name"
    )
    window: Any = setting(None, "CT: {level: 40, width: 400} in HU, or brain, lung, bone, ...; null: from the data")


@dataclass(frozen=True)
class SplitSettings:
    """How cases are divided into folds."""

    kind: SplitKind = setting(
        "random", "random: nnU-Net's; group: a patient's cases stay together; stratified: by the labels present"
    )
    num_folds: int = setting(5, "number of folds; not used by leave_one_out, which has one per case or group")
    seed: int = setting(12345, "seed of the shuffle (nnU-Net's)")
    group_pattern: str | None = setting(
        None, "regular expression found in case names; its first group (or the match) is the patient", literal=True
    )
    group_key: str | None = setting(None, "column of the table that names the patient (or site, ...)")
    table: str | None = setting(None, "CSV with a column case; None: the dataset's own list of files", literal=True)
    file: str | None = setting(None, "a splits file (JSON list of {train, val}) to use as it is", literal=True)


@dataclass(frozen=True)
class VerifySettings:
    """How strictly the raw data are checked, and whether repaired copies are written."""

    tolerance: float = setting(
        1e-3, "largest difference of two grids: spacing and origin in voxels, direction in cosines (0.05 at most)"
    )
    fix: Literal["copy_header", "resample"] | None = setting(
        None, "write copies on the first channel's grid beside the originals: its header, or resampled onto it"
    )


@dataclass(frozen=True)
class PlannerSettings:
    """Which rules make the plan, and for which givens."""

    name: Literal["default", "resenc_m", "resenc_l", "resenc_xl"] = setting("default", "planner")
    gpu_memory_gb: float | None = setting(None, "memory target in GB; None takes the planner's own")
    target_spacing: tuple[float, ...] | None = setting(None, "mm, (Z, Y, X); None follows the spacing rule")
    transpose: bool = setting(True, "move the axis of largest spacing to the front")
    plan_file: str | None = setting(None, "use this plan (YAML) instead of generating one", literal=True)


@dataclass(frozen=True)
class PlanOverrides:
    """Values that replace the generated plan's for the configuration that is run. None keeps the plan's."""

    spacing: tuple[float, ...] | None = setting(None, "target spacing, mm per planned axis")
    patch_size: tuple[int, ...] | None = setting(None, "patch in voxels; strides, kernels and batch stay unless refit")
    batch_size: int | None = setting(None, "patches per training step")
    features_per_stage: tuple[int, ...] | None = setting(None, "channels of each stage")
    kernel_sizes: tuple[tuple[int, ...], ...] | None = setting(None, "kernel of each stage")
    strides: tuple[tuple[int, ...], ...] | None = setting(None, "stride of each stage, the first all ones")
    n_conv_per_stage: tuple[int, ...] | None = setting(None, "convolutions (or residual blocks) of each encoder stage")
    n_conv_per_stage_decoder: tuple[int, ...] | None = setting(None, "convolutions of each decoder stage")
    normalization_schemes: tuple[str, ...] | None = setting(None, "per channel: ct, zscore, nonorm, ...")
    use_mask_for_norm: tuple[bool, ...] | None = setting(None, "per channel: normalise inside the nonzero mask only")
    batch_dice: bool | None = setting(None, "Dice over the whole batch instead of per sample")
    refit: tuple[Literal["topology", "batch_size"], ...] = setting(
        (), "derive again for the new patch or spacing, by the planner's rules: topology, batch_size"
    )


@dataclass(frozen=True)
class NetworkSettings:
    """Which architecture is built on the planned topology."""

    name: str = setting(
        "planned", "planned (what the planner chose), unet, residual_unet, vnet, unet_plus_plus, bayesian_unet, or own"
    )
    _target_: str | None = setting(
        None, "import path of a network of your own, called with topology, num_channels, num_outputs and the arguments"
    )
    arguments: dict[str, Any] = setting({}, "further arguments of the network; bayesian_unet: dropout")

    @property
    def target(self) -> str | None:
        """Import path of a network that the user brings, None for the package's own."""
        return self._target_


@dataclass(frozen=True)
class AugmentationSettings:
    """Random transforms of training patches, in the order in which they are applied. Ranges are (low, high)."""

    name: str = setting("default", "name of this set")
    rotation_probability: float = setting(0.2, "probability of a rotation, per sample")
    rotation_degrees: float | None = setting(None, "largest angle per axis; None follows the patch's shape")
    scaling_probability: float = setting(0.2, "probability of a change of scale, per sample")
    scaling_range: tuple[float, float] = setting((0.7, 1.4), "factor, one for all axes; above 1 shrinks objects")
    dummy_2d: bool | None = setting(None, "rotate and scale in plane only; None: patches three times as wide as deep")
    shift_probability: float = setting(0.0, "probability of a shift by whole voxels, per sample")
    shift_range: float = setting(0.1, "largest shift, share of the patch edge")
    noise_probability: float = setting(0.1, "probability of Gaussian noise, per sample")
    noise_range: tuple[float, float] = setting((0.0, 0.1), "its standard deviation, in normalised intensity")
    blur_probability: float = setting(0.2, "probability of Gaussian blur, per sample")
    blur_channel_probability: float = setting(0.5, "and per channel of such a sample")
    blur_range: tuple[float, float] = setting((0.5, 1.0), "its sigma, voxels")
    brightness_probability: float = setting(0.15, "probability of a brightness factor, per sample")
    brightness_range: tuple[float, float] = setting((0.75, 1.25), "the factor, per channel")
    contrast_probability: float = setting(0.15, "probability of a contrast factor, per sample")
    contrast_range: tuple[float, float] = setting((0.75, 1.25), "the factor, per channel")
    low_resolution_probability: float = setting(0.25, "probability of simulated low resolution, per sample")
    low_resolution_channel_probability: float = setting(0.5, "and per channel of such a sample")
    low_resolution_range: tuple[float, float] = setting((0.5, 1.0), "the zoom, one for all axes")
    gamma_inverted_probability: float = setting(0.1, "probability of a gamma change of the inverted image, per sample")
    gamma_probability: float = setting(0.3, "probability of a gamma change, per sample")
    gamma_range: tuple[float, float] = setting((0.7, 1.5), "the exponent, per channel")
    mirror_axes: tuple[int, ...] | None = setting(None, "axes to mirror, here and in prediction; None: all")


@dataclass(frozen=True)
class LossSettings:
    """Dice and cross-entropy (binary cross-entropy with regions)."""

    name: Literal["dice_ce"] = setting("dice_ce", "kind of loss")
    dice_weight: float = setting(1.0, "weight of the negative soft Dice")
    ce_weight: float = setting(1.0, "weight of the cross-entropy")
    smooth: float = setting(1e-5, "added to numerator and denominator of the Dice")
    batch_dice: bool | None = setting(None, "Dice over the whole batch; None takes the plan's")
    deep_supervision: bool = setting(True, "also score the decoder's lower resolutions")


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are moved."""

    name: Literal["sgd", "adamw"] = setting("sgd", "optimizer")
    lr: float = setting(1e-2, "initial (one_cycle: peak) learning rate")
    momentum: float = setting(0.99, "sgd: momentum")
    nesterov: bool = setting(True, "sgd: Nesterov's momentum")
    betas: tuple[float, float] = setting((0.9, 0.999), "adamw: decay of the moments")
    weight_decay: float = setting(3e-5, "weight decay, on all parameters")


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate falls over the training."""

    name: Literal["poly", "cosine", "one_cycle", "constant"] = setting("poly", "shape of the schedule")
    exponent: float = setting(0.9, "poly: power of the remaining share")
    warmup: float = setting(0.0, "share of the training in which the rate rises from 0 (one_cycle: from lr / 25)")
    interval: Literal["epoch", "step"] = setting("epoch", "how often the rate changes")


@dataclass(frozen=True)
class SamplingSettings:
    """Which patches are drawn."""

    foreground_fraction: float = setting(0.33, "share of each batch centred on foreground; the last ones of the batch")


@dataclass(frozen=True)
class DataSettings:
    """How patches reach the network."""

    workers: int | None = setting(None, "processes that cut patches; None chooses, 0 works in the main process")


@dataclass(frozen=True)
class PretrainedSettings:
    """Weights of another model that a new training begins with."""

    path: str | None = setting(
        None, "segfw model (folder or .zip), last.ckpt of a run, nnU-Net .pth, or .safetensors", literal=True
    )
    on_mismatch: Literal["error", "adapt", "skip"] = setting(
        "error", "of shapes: error; adapt: average or repeat input channels, new heads for new labels; skip: keep fresh"
    )
    configuration: str | None = setting(None, "of a segfw model; None: the one trained here, or the model's only one")
    fold: int | None = setting(None, "of a segfw model; None: the one trained here, or the model's first")


@dataclass(frozen=True)
class TrainerSettings:
    """Lightning Trainer arguments."""

    max_epochs: int = setting(1000, "epochs; raising it extends a run")
    limit_train_batches: int = setting(250, "training iterations per epoch")
    limit_val_batches: int = setting(50, "on-line validation iterations per epoch")
    accelerator: str = setting("auto", "auto, cpu, gpu, mps")
    precision: str = setting("auto", "auto: 16-mixed on CUDA, 32-true elsewhere; or any Lightning precision")
    gradient_clip_val: float = setting(12.0, "largest total 2-norm of the gradient; 0 for none")
    compile: bool = setting(False, "compile the network (CUDA only)")
    threads: int | None = setting(None, "CPU threads of PyTorch; None takes every available core")
    enable_progress_bar: bool = setting(True, "show progress bars")


@dataclass(frozen=True)
class InferenceSettings:
    """How whole images are segmented."""

    step_size: float = setting(0.5, "distance of windows, share of the window; above 0, at most 1")
    mirror: bool = setting(True, "average over mirrored passes along the axes mirrored in training")
    window_batch_size: int = setting(1, "windows computed at once")
    depth: int | None = setting(None, "unet_plus_plus: cut the network at this depth, 1 the fastest; None: the deepest")
    uncertainty: bool = setting(False, "map of epistemic uncertainty, from Monte Carlo samples or from several folds")
    samples: int = setting(10, "bayesian_unet: Monte Carlo samples, each as long as a prediction")
    seed: int = setting(0, "seed of the Monte Carlo samples")


@dataclass(frozen=True)
class ExecutorSettings:
    """Who does the work that goes case by case."""

    name: Literal["local"] = setting("local", "processes on this machine")
    workers: int | None = setting(None, "processes; None chooses from cores and memory, 0 works in the main process")


@dataclass(frozen=True)
class ExperimentSettings:
    """The main job: from raw images to a packaged model."""

    task: TaskSettings = field(default_factory=TaskSettings)
    name: str = setting("main", "name of this variant; runs, selection and model lie under it")
    data_root: str = setting("data", "where datasets lie", literal=True)
    output_root: str = setting("outputs", "where everything generated goes", literal=True)
    stages: Any = setting("all", "all, or some of fingerprint, plan, preprocess, train, select, report")
    configurations: Any = setting("auto", "auto (all the plan offers) or a list such as [2d,3d_fullres]")
    folds: Any = setting("cv", "cv (all folds), a fold, a list of folds, or full (one model on every case)")
    verify: VerifySettings = field(default_factory=VerifySettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    planner: PlannerSettings = field(default_factory=PlannerSettings)
    plan: PlanOverrides = field(default_factory=PlanOverrides)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    data: DataSettings = field(default_factory=DataSettings)
    pretrained: PretrainedSettings = field(default_factory=PretrainedSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    callbacks: dict[str, Any] = setting({}, "further Lightning callbacks, each with _target_")
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    seed: int = setting(0, "seed of weights, sampling and augmentation")
    deterministic: bool = setting(False, "refuse operations that differ from run to run")
    overwrite: bool = setting(False, "allow trained weights to be replaced")
    tags: tuple[str, ...] = setting((), "words to find this run by")
