"""Every setting a user can give, declared once: type, default, unit and meaning.

The classes are frozen values that the whole package reads. `segfw.config` derives from them what OmegaConf needs, the
YAML files under `configs/` name them, and the key reference is printed from `help`.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from segfw.core.settings.declaring import setting
from segfw.core.settings.tracking import LoggerSettings
from segfw.core.settings.training import (
    AugmentationSettings,
    DataSettings,
    LossSettings,
    OptimizerSettings,
    PretrainedSettings,
    SamplingSettings,
    ScheduleSettings,
    TrainerSettings,
)
from segfw.core.support.addresses import DATA_CACHE

ConfigurationChoice = Literal["auto"] | tuple[str, ...]
FoldChoice = Literal["cv", "full"] | tuple[int, ...]
SplitKind = Literal["random", "group", "stratified", "leave_one_out"]


DRY_RUN = "say what would run, what would be skipped and what it would cost; write nothing"
STAGES = ("fingerprint", "plan", "preprocess", "train", "select", "report")


@dataclass(frozen=True)
class TaskSettings:
    """What a dataset is. What is not given comes from the dataset's own `dataset.json`."""

    name: str | None = setting(None, "name of the dataset; names the folder under output_root")
    folder: str | None = setting(
        None,
        "folder of the dataset, or a CSV or YAML list of its files; under data_root, absolute, or an address",
        literal=True,
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
    file: str | None = setting(
        None,
        "a splits file (JSON list of {train, val}) to use as it is; None: splits_final.json in the dataset's folder, "
        "if it is there and no other split.* key is changed",
        literal=True,
    )
    inner_share: float | None = setting(
        None, "share of a fold's training cases that is held out and validates instead of the fold's own cases"
    )


@dataclass(frozen=True)
class VerifySettings:
    """How strictly the raw data are checked, and whether repaired copies are written."""

    tolerance: float = setting(
        1e-3, "largest difference of two grids: spacing and origin in voxels, direction in cosines (never above 0.05)"
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
class InferenceSettings:
    """How whole images are segmented."""

    step_size: float = setting(0.5, "distance of windows, share of the window; above 0, at most 1")
    mirror: bool = setting(True, "average over mirrored passes along the axes mirrored in training")
    window_batch_size: int | None = setting(
        None, "windows computed at once, where memory allows; None: one per CPU thread, on a GPU those of 128^3 voxels"
    )
    folds: Any = setting(None, "members of the model that predict: a fold, a list of folds, or full; None: all of them")
    depth: int | None = setting(None, "unet_plus_plus: cut the network at this depth, 1 the fastest; None: the deepest")
    uncertainty: bool = setting(False, "map of epistemic uncertainty, from Monte Carlo samples or from several folds")
    samples: int = setting(10, "bayesian_unet: Monte Carlo samples, each as long as a prediction")
    seed: int = setting(0, "seed of the Monte Carlo samples")
    probabilities: bool = setting(False, "predict: also write <case>_probabilities.npy, float16 (heads, Z, Y, X)")
    memory_gb: float | None = setting(
        None, "GB a case may take of the host and of the GPU each, beside program and image; None: 80 % of what is free"
    )
    postprocessing: bool = setting(True, "apply the steps that selection chose and the model holds")


@dataclass(frozen=True)
class PostprocessingSettings:
    """Which steps selection examines after the network; keeping the largest component always is, by nnU-Net's rule.

    The further ones are examined unless they are turned off: nnU-Net's come first and are not changed by them, each is
    taken only if its class gains in cross-validation and no other falls, and selection's table says by how much.
    """

    strict: bool = setting(False, "largest component of a class: only if no other falls either; false: nnU-Net's rule")
    fill_holes: bool = setting(True, "examine filling each class's cavities; taken if it gains and no other falls")
    min_size: bool = setting(True, "examine a least volume of each class's components; taken if it gains likewise")


@dataclass(frozen=True)
class SelectionSettings:
    """What competes to become the model, and what is kept for it."""

    ensembles: Any = setting(
        "pairs", "averages of configurations that compete: pairs, all, none, or lists such as [[2d,3d_fullres]]"
    )
    keep_logits: bool = setting(
        True, "keep what networks say of validation cases, which ensembles are scored from; else it is computed again"
    )


@dataclass(frozen=True)
class ExecutorSettings:
    """Who does the work that goes case by case."""

    name: Literal["local", "ray"] = setting("local", "processes on this machine, or a Ray cluster (extra: segfw[ray])")
    workers: int | None = setting(
        None, "cases at once; None chooses from cores and memory, 0 works in the main process"
    )
    address: str | None = setting(None, "ray: of the cluster, auto or HOST:6379; None: one is started here")
    retries: int = setting(3, "ray: times that a case is begun again whose node or process was lost")


IN_PROCESSES = ExecutorSettings()
"""What is done where nothing is said."""


@dataclass(frozen=True)
class ExperimentSettings:
    """The main job: from raw images to a packaged model."""

    task: TaskSettings = field(default_factory=TaskSettings)
    name: str = setting("main", "name of this variant; runs, selection and model lie under it")
    data_root: str = setting("data", "where datasets lie: a folder, or an address such as s3://BUCKET", literal=True)
    data_cache: str = setting(DATA_CACHE, "where files that are read from addresses are kept", literal=True)
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
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    postprocessing: PostprocessingSettings = field(default_factory=PostprocessingSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    seed: int = setting(0, "seed of weights, sampling and augmentation")
    deterministic: bool = setting(False, "refuse operations that differ from run to run")
    overwrite: bool = setting(False, "allow trained weights to be replaced")
    tags: tuple[str, ...] = setting((), "words to find this run by")
    print_config: bool = setting(False, "print every setting; else those that differ from the defaults, in one line")
    dry_run: bool = setting(False, DRY_RUN)
