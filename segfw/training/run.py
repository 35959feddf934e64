"""Everything that determines the training of one fold, as plain values that can be written down and read back."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from segfw.core.errors import UsageError
from segfw.core.imaging.preprocessing import CropRecord
from segfw.core.imaging.resampling import resampled_shape
from segfw.core.plan import Configuration, Plan
from segfw.core.settings.class_weights import weight_per_class
from segfw.core.settings.schema import InferenceSettings, NetworkSettings
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
from segfw.core.support.conversion import to_plain
from segfw.core.support.durations import parse_duration
from segfw.core.types import Shape, Spacing

# Names in a run's folder.
CHECKPOINTS, LAST, PREVIOUS, BEST = "checkpoints", "last.ckpt", "previous.ckpt", "best.ckpt"
VALIDATION, METRICS_JSON, METRICS_CSV = "validation", "metrics.json", "metrics.csv"
ENDING = ".nii.gz"
"""Of a validated case's segmentation."""

NEXT_STAGE = "next_stage"
DONE, PROGRESS, FAILED, TRAIN_LOG = "done.yaml", "progress.json", "failed.yaml", "train.log"

FULL: Literal["full"] = "full"
FoldName = int | Literal["full"]
EndKind = Literal["epochs", "time", "early"]


def validated_with(inference: InferenceSettings) -> dict[str, Any]:
    """Return what a validation depends on: it is never postprocessed, writes no probabilities, and memory changes none.

    These may be others after it, and so may `folds`, which a fold that validates itself does not know of.
    """
    validated = to_plain(replace(inference, postprocessing=True, probabilities=False, memory_gb=None))
    return {key: value for key, value in validated.items() if key != "folds"}


@dataclass(frozen=True)
class NextStage:
    """The configuration that takes a fold's segmentations as a further input: its name, and its spacing in mm."""

    name: str
    spacing: Spacing

    def shape(self, record: CropRecord, transpose_forward: Shape) -> Shape:
        """Return the extent of a case on that grid; slices of a 2D configuration keep their distance."""
        old = tuple(record.spacing[axis] for axis in transpose_forward)
        return resampled_shape(record.shape_after_cropping, old, (*old[: 3 - len(self.spacing)], *self.spacing))


@dataclass(frozen=True)
class PreviousRuns:
    """What a second stage is fed by: the segmentations of every case by the fold of `name` that left it out.

    `folders`: one per fold; `manifests`: SHA-256 of each one's manifest.
    """

    name: str
    folders: tuple[str, ...]
    manifests: tuple[str, ...]


@dataclass(frozen=True)
class FoldRun:
    """One fold of one configuration.

    `plan` is resolved (overrides applied); `store` is the folder of preprocessed cases. With fold "full" there are no
    validation cases: the model learns from every case and has no score. `pretrained`: what it begins with, of which
    `pretrained_sha256` is the hash; None for random weights. `next_stage` says for which grid whole-case validation
    segments its cases once more; `previous` says where the segmentations come from that are a further
    input; None for a configuration that takes none, and until they are there. `mirror_axes`: what
    `augmentation.mirror_axes=auto` found, None where it is not asked. `keep_logits`: whole-case validation leaves what
    the network said of each case (see `segfw.data.kept_logits`). `inner_share`: the share of the fold's training cases
    that was held out to validate on, in place of its validation cases; None where these validate.
    """

    plan: Plan
    configuration_name: str
    fold: FoldName
    train_cases: tuple[str, ...]
    val_cases: tuple[str, ...]
    store: str
    network: NetworkSettings = field(default_factory=NetworkSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    data: DataSettings = field(default_factory=DataSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    seed: int = 0
    deterministic: bool = False
    pretrained: PretrainedSettings | None = None
    pretrained_sha256: str | None = None
    next_stage: NextStage | None = None
    mirror_axes: tuple[int, ...] | None = None
    previous: PreviousRuns | None = None
    keep_logits: bool = True
    inner_share: float | None = None

    def __post_init__(self) -> None:
        self.plan.configuration(self.configuration_name)
        if not self.train_cases:
            raise UsageError(f"fold {self.fold} has no training case")
        both = sorted(set(self.train_cases) & set(self.val_cases))
        if both:
            raise UsageError(f"fold {self.fold} has {len(both)} cases in training and validation: {both[:5]}")
        if self.fold == FULL and self.val_cases:
            raise UsageError(f"fold 'full' has no validation cases, got {len(self.val_cases)}")
        for key in ("max_epochs", "limit_train_batches", "accumulate_grad_batches", "check_val_every_n_epoch"):
            if getattr(self.trainer, key) < 1:
                raise UsageError(f"trainer.{key} must be at least 1, got {getattr(self.trainer, key)}")
        weight_per_class(self.loss.class_weights, self.plan.labels)
        depth, deepest = self.inference.depth, len(self.configuration.strides) - 1
        if depth is not None and depth > deepest:
            name = self.configuration_name
            raise UsageError(f"inference.depth must be between 1 and {deepest} for {name}, got {depth}")
        if self.schedule.horizon == "time" and self.time_budget is None:
            raise UsageError("schedule.horizon=time needs a budget, trainer.max_time=DD:HH:MM:SS, got null")
        if self.trainer.limit_val_batches < 0:
            raise UsageError(f"trainer.limit_val_batches must be at least 0, got {self.trainer.limit_val_batches}")

    @property
    def configuration(self) -> Configuration:
        """The plan's configuration that is trained."""
        return self.plan.configuration(self.configuration_name)

    @property
    def resolved_augmentation(self) -> AugmentationSettings:
        """The augmentation with the axes that were found where it asks for a choice."""
        if self.mirror_axes is None:
            return self.augmentation
        return replace(self.augmentation, mirror_axes=self.mirror_axes)

    @property
    def architecture(self) -> str:
        """Name of the network that is built; a user's own has the name that they gave it."""
        return self.configuration.architecture if self.network.name == "planned" else self.network.name

    @property
    def num_channels(self) -> int:
        """Channels that enter the network: the images and, after a previous stage, one per label."""
        return self.plan.num_inputs(self.configuration)

    @property
    def time_budget(self) -> int | None:
        """Seconds that the whole training may take, where time is what the schedule is measured by; else None."""
        limit = self.trainer.max_time
        return parse_duration(limit, "trainer.max_time") if self.schedule.horizon == "time" and limit else None

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch; the last may have fewer iterations than the others."""
        return -(-self.trainer.limit_train_batches // self.trainer.accumulate_grad_batches)

    def progress(self, epoch: int, batch: int, seconds: float) -> float:
        """Return the share of the training that is done before iteration `batch` of `epoch`, after `seconds` of it."""
        if self.time_budget is not None:
            return min(1.0, seconds / self.time_budget)
        step = epoch * self.steps_per_epoch + batch // self.trainer.accumulate_grad_batches
        return min(1.0, step / (self.trainer.max_epochs * self.steps_per_epoch))

    @property
    def val_batches(self) -> int:
        """On-line validation iterations per epoch; 0 without validation cases."""
        return self.trainer.limit_val_batches if self.val_cases else 0
