"""The settings of training, each declared once: type, default, unit and meaning.

The rest: `segfw.core.settings.schema`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from segfw.core.settings.declaring import setting

Strategy = Literal["auto", "ddp", "ddp_find_unused_parameters_true"]
MACHINE_KEYS = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.threads",
    "trainer.compile",
    "trainer.checkpoint_minutes",
    "trainer.enable_progress_bar",
)
"""Keys that say where and how fast a training runs, and how it is kept, not what comes of it."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


@dataclass(frozen=True)
class AugmentationSettings:
    """Random transforms of training patches, in the order in which they are applied. Ranges are (low, high)."""

    name: str = setting("default", "name of this set")
    device: Literal["auto", "cpu"] = setting(
        "auto", "auto: where the network trains; cpu: in the processes that cut patches (the noise is another on a GPU)"
    )
    rotation_probability: float = setting(0.2, "probability of a rotation, per sample")
    rotation_degrees: float | None = setting(None, "largest angle per axis; None follows the patch's shape")
    scaling_probability: float = setting(0.2, "probability of a change of scale, per sample")
    scaling_range: tuple[float, float] = setting((0.7, 1.4), "factor, one for all axes; above 1 shrinks objects")
    dummy_2d: bool | None = setting(None, "rotate and scale in plane only; None: patches three times as wide as deep")
    shift_probability: float = setting(0.0, "probability of a shift by whole voxels, per sample")
    shift_range: float = setting(0.1, "largest shift, share of the patch edge")
    bias_field_probability: float = setting(0.0, "probability of an MRI bias field, per sample (TorchIO)")
    bias_field_coefficient: float = setting(0.5, "largest coefficient of its third-order polynomial, in the exponent")
    motion_probability: float = setting(0.0, "probability of MRI motion artefacts, per sample (TorchIO)")
    motion_degrees: float = setting(10.0, "largest rotation of each of two movements, per axis")
    motion_translation: float = setting(10.0, "and their largest translation, voxels per axis")
    ghosting_probability: float = setting(0.0, "probability of MRI ghosts, per sample (TorchIO)")
    ghosting_range: tuple[float, float] = setting((0.5, 1.0), "their strength")
    spike_probability: float = setting(0.0, "probability of a spike in the MRI spectrum, per sample (TorchIO)")
    spike_range: tuple[float, float] = setting((1.0, 3.0), "its height, in maxima of the spectrum")
    noise_probability: float = setting(0.1, "probability of Gaussian noise, per sample")
    noise_range: tuple[float, float] = setting((0.0, 0.1), "its standard deviation, in normalised intensity")
    blur_probability: float = setting(0.2, "probability of Gaussian blur, per sample")
    blur_channel_probability: float = setting(0.5, "and per channel of such a sample")
    blur_range: tuple[float, float] = setting((0.5, 1.0), "its sigma, voxels")
    brightness_probability: float = setting(0.15, "probability of a brightness factor, per sample")
    brightness_range: tuple[float, float] = setting((0.75, 1.25), "the factor, per channel")
    offset_probability: float = setting(0.0, "probability of an intensity offset, per sample")
    offset_channel_probability: float = setting(0.5, "and per channel of such a sample")
    offset_deviation: float = setting(0.5, "its standard deviation, in normalised intensity")
    contrast_probability: float = setting(0.15, "probability of a contrast factor, per sample")
    contrast_range: tuple[float, float] = setting((0.75, 1.25), "the factor, per channel")
    low_resolution_probability: float = setting(0.25, "probability of simulated low resolution, per sample")
    low_resolution_channel_probability: float = setting(0.5, "and per channel of such a sample")
    low_resolution_range: tuple[float, float] = setting((0.5, 1.0), "the zoom, one for all axes")
    gamma_inverted_probability: float = setting(0.1, "probability of a gamma change of the inverted image, per sample")
    gamma_probability: float = setting(0.3, "probability of a gamma change, per sample")
    gamma_range: tuple[float, float] = setting((0.7, 1.5), "the exponent, per channel")
    gradient_probability: float = setting(0.0, "probability of a brightness gradient, a broad bump, per sample")
    gradient_channel_probability: float = setting(0.5, "and per channel of such a sample")
    gradient_range: tuple[float, float] = setting((1.0, 5.0), "its height, up or down, in normalised intensity")
    sharpening_probability: float = setting(0.0, "probability of sharpening, per sample")
    sharpening_channel_probability: float = setting(0.5, "and per channel of such a sample")
    sharpening_range: tuple[float, float] = setting((0.1, 1.0), "share of what a blur of sigma 1 removes that is added")
    blank_probability: float = setting(0.0, "probability of one to five blank boxes, per sample")
    blank_channel_probability: float = setting(0.5, "and per channel of such a sample")
    blank_range: tuple[float, float] = setting((0.1, 0.333), "their edges, share of the patch edge")
    mirror_axes: Literal["auto"] | tuple[int, ...] | None = setting(
        None,
        "axes to mirror, here and in prediction: of the patch, in the plan's order (2d: 0 is Y unless transposed); "
        "None: all; auto: those along which labels have no fixed order",
    )
    previous_operator_probability: float = setting(
        0.4, "cascade: probability that labels of the previous stage are dilated, eroded, opened or closed, per sample"
    )
    previous_operator_label_probability: float = setting(0.5, "and per label of such a sample")
    previous_radius_range: tuple[float, float] = setting((1.0, 8.0), "radius of the ball (2D: disk) of it, voxels")
    previous_removal_probability: float = setting(
        0.2, "cascade: probability that components of the previous stage's labels are removed, per sample"
    )
    previous_removal_label_probability: float = setting(0.5, "and per label of such a sample, one component each")
    previous_removal_size: float = setting(0.15, "only components smaller than this share of the patch")


@dataclass(frozen=True)
class LossSettings:
    """A sum of terms: per voxel (binary with regions), overlap, and those for thin and for small structures."""

    distribution: Literal["ce", "focal", "topk"] = setting(
        "ce", "term per voxel: cross-entropy, focal, or the cross-entropy of the hardest voxels"
    )
    ce_weight: float = setting(1.0, "weight of the term per voxel; 0 leaves it out")
    class_weights: dict[str, float] | tuple[float, ...] | None = setting(
        None, "term per voxel: {label: weight}, 1 where left out, or a list with background; regions: by region"
    )
    label_smoothing: float = setting(0.0, "ce, topk: share of the target spread evenly over the classes")
    focal_gamma: float = setting(2.0, "focal: power of 1 - p of the right class; 0 is cross-entropy")
    topk_share: float = setting(0.1, "topk: share of the voxels of a batch, on each device of its own")
    overlap: Literal["dice", "tversky"] = setting("dice", "overlap of prediction and target, taken negatively")
    dice_weight: float = setting(1.0, "weight of the overlap; 0 leaves it out")
    tversky_alpha: float = setting(0.3, "tversky: weight of false positives")
    tversky_beta: float = setting(0.7, "tversky: weight of false negatives; 0.5 and 0.5 are the Dice")
    tversky_exponent: float = setting(1.0, "tversky: power of 1 - index; focal Tversky: 0.75")
    cldice_weight: float = setting(0.0, "weight of the negative clDice, for thin structures; at full resolution only")
    cldice_iterations: int = setting(3, "clDice: erosions of the soft skeleton, the largest radius in voxels")
    component_weight: float = setting(
        0.0, "weight of the negative Dice per connected component (blob loss), at full resolution; a GPU waits for it"
    )
    smooth: float = setting(1e-5, "added to numerator and denominator of every overlap")
    batch_dice: bool | None = setting(None, "overlaps over the whole batch; None takes the plan's")
    deep_supervision: bool = setting(True, "also score the decoder's lower resolutions")
    _target_: str | None = setting(
        None, "import path of a loss of your own, in place of all terms; called with labels, batch_dice and arguments"
    )
    arguments: dict[str, Any] = setting({}, "further arguments of a loss of your own")

    @property
    def target(self) -> str | None:
        """Import path of a loss that the user brings, None for the sum of terms."""
        return self._target_


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are moved."""

    name: Literal["sgd", "adam", "adamw", "nadam", "radam", "rmsprop"] = setting("sgd", "optimizer, PyTorch's")
    lr: float = setting(1e-2, "initial (one_cycle: peak) learning rate")
    momentum: float = setting(0.99, "sgd, rmsprop: momentum")
    nesterov: bool = setting(True, "sgd: Nesterov's momentum")
    betas: tuple[float, float] = setting((0.9, 0.999), "adam, adamw, nadam, radam: decay of the moments")
    amsgrad: bool = setting(False, "adam, adamw: divide by the largest second moment so far")
    weight_decay: float = setting(3e-5, "weight decay, on all parameters; apart from the gradient in adamw only")


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate falls over the training."""

    name: Literal["poly", "cosine", "one_cycle", "constant"] = setting("poly", "shape of the schedule")
    exponent: float = setting(0.9, "poly: power of the remaining share")
    warmup: float = setting(0.0, "share of the training in which the rate rises from 0 (one_cycle: from lr / 25)")
    interval: Literal["epoch", "step"] = setting("epoch", "how often the rate changes; in the warm-up with every step")
    horizon: Literal["epochs", "time"] = setting(
        "epochs", "what the training is measured by: trainer.max_epochs, or trainer.max_time of each fold's training"
    )


@dataclass(frozen=True)
class SamplingSettings:
    """Which patches are drawn."""

    foreground_fraction: float = setting(0.33, "share of each batch centred on foreground; the last ones of the batch")
    class_weights: dict[str, float] | None = setting(
        None, "name of a class -> how often such patches are centred on it; None or not named: 1"
    )
    case_weights: dict[str, float] | None = setting(
        None, "name of a training case -> how often it is drawn; None or not named: 1"
    )
    repeat_batches: int | None = setting(
        None, "draw only so many training batches and show them again and again, in every epoch; None: always new ones"
    )


@dataclass(frozen=True)
class DataSettings:
    """How patches reach the network."""

    cache: Literal["auto", "device", "host", "none"] = setting(
        "auto",
        "hold cases in the GPU's memory (device), in main memory (host) or in files (none); auto: device if they fit",
    )
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

    max_epochs: int = setting(
        1000, "epochs; raising it extends a run: its schedule is stretched over them, so the rate jumps up, then falls"
    )
    max_time: str | None = setting(
        None,
        "DD:HH:MM:SS; horizon=epochs: when this command's training stops, to go on when given again; horizon=time: "
        "a fold's whole training, over all commands, raising it extends; without the whole-case validation after it",
    )
    limit_train_batches: int = setting(250, "training iterations per epoch")
    limit_val_batches: int = setting(50, "on-line validation iterations per epoch")
    limit_val_cases: int | None = setting(
        None, "validate on so many cases of a fold only, its first, to see whether everything runs; None: on all"
    )
    accelerator: str = setting("auto", "auto, cpu, gpu, mps")
    devices: int | str | tuple[int, ...] = setting(1, "how many per node, [0, 2] for these, auto for all of them")
    num_nodes: int = setting(1, "computers; each runs the command under srun or torchrun")
    strategy: Strategy = setting("auto", "auto: ddp on several devices; ddp_find_unused_...: networks with idle parts")
    precision: str = setting(
        "auto", "auto: 16-mixed on CUDA, bf16-mixed on processors that multiply it, else 32-true; or one of Lightning's"
    )
    gradient_clip_val: float = setting(12.0, "largest total 2-norm of the gradient; 0 for none")
    accumulate_grad_batches: int = setting(
        1, "iterations per step of the optimizer; batch Dice and norms see one iteration's batch only"
    )
    ema_half_life: float | None = setting(
        None,
        "average the weights; share of the training after which one counts half (0.02); "
        "validation, best and the model use the average",
    )
    check_val_every_n_epoch: int = setting(1, "epochs from one on-line validation to the next")
    checkpoint_minutes: float = setting(10.0, "last.ckpt is written every epoch, and within one after so many minutes")
    detect_anomaly: bool = setting(False, "name the operation whose gradient is not a number; slow")
    profiler: Literal["simple", "advanced", "pytorch"] | None = setting(
        None, "measure where a fold's time goes, with Lightning's profiler; profile.txt in the run's folder tells"
    )
    compile: bool = setting(False, "compile the network (CUDA only)")
    threads: int | None = setting(None, "CPU threads of each process; None shares out every available core")
    enable_progress_bar: bool = setting(True, "show progress bars")
