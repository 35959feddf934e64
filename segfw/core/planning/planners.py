"""The published planners: how much memory each plans for, and with which encoder.

Plain U-Net: Isensee et al. 2021. Residual encoder presets M, L and XL: Isensee et al. 2024, "nnU-Net Revisited".
"""

from dataclasses import dataclass

from segfw.core.plan import Configuration, Plan
from segfw.core.planning.memory import configuration_memory

REFERENCE_BATCH_SIZE = {2: 12, 3: 2}
"""By number of axes: the batch size at which the reference estimates hold."""


@dataclass(frozen=True)
class Planner:
    """What distinguishes the published planners.

    `reference`: by number of axes, the memory estimate that fits into `gpu_memory_gb`; `max_dataset_covered`: share
    of the dataset's voxels that one batch may hold; `encoder_counts`: per stage, the last one repeated for deeper
    networks.
    """

    architecture: str
    gpu_memory_gb: float
    reference: dict[int, float]
    max_dataset_covered: float
    encoder_counts: tuple[int, ...]
    decoder_count: int


_RESENC_BLOCKS = (1, 3, 4, 6)
PLANNERS = {
    "default": Planner("unet", 8, {2: 85e6, 3: 560e6}, 0.05, (2,), 2),
    "resenc_m": Planner("residual_unet", 8, {2: 135e6, 3: 680e6}, 1.0, _RESENC_BLOCKS, 1),
    "resenc_l": Planner("residual_unet", 24, {2: 380e6, 3: 2100e6}, 1.0, _RESENC_BLOCKS, 1),
    "resenc_xl": Planner("residual_unet", 40, {2: 560e6, 3: 3600e6}, 1.0, _RESENC_BLOCKS, 1),
}


@dataclass(frozen=True)
class Givens:
    """What all configurations of one plan share."""

    planner: Planner
    gpu_memory_gb: float
    num_outputs: int
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]

    def reference(self, ndim: int) -> float:
        """Scale the planner's reference estimate to the memory at hand."""
        return self.planner.reference[ndim] * (self.gpu_memory_gb / self.planner.gpu_memory_gb)


def planner_of(plan: Plan, architecture: str) -> Planner:
    """Return the planner that made `plan`, or the smallest calibrated for this architecture for a plan of another kind.

    Networks that no planner chooses are counted in the plain U-Net's unit (see `memory`).
    """
    known = PLANNERS.get(plan.planner)
    if known is not None and known.architecture == architecture:
        return known
    return PLANNERS["resenc_m" if architecture == "residual_unet" else "default"]


def givens_of(plan: Plan, configuration: Configuration, gpu_memory_gb: float | None = None) -> Givens:
    """Return what a configuration of `plan` was planned with. `gpu_memory_gb`: None takes the planner's own."""
    planner = planner_of(plan, configuration.architecture)
    return Givens(
        planner=planner,
        gpu_memory_gb=planner.gpu_memory_gb if gpu_memory_gb is None else gpu_memory_gb,
        num_outputs=len(plan.labels.values),
        normalization_schemes=configuration.normalization_schemes,
        use_mask_for_norm=configuration.use_mask_for_norm,
    )


def estimated_gpu_memory_gb(plan: Plan, name: str) -> float:
    """Estimate the GPU memory of training configuration `name` in gigabytes, by the planner's calibration.

    The reference estimate stands for the reference memory at the reference batch size.
    """
    configuration = plan.configuration(name)
    planner = planner_of(plan, configuration.architecture)
    ndim = len(configuration.spacing)
    estimate = configuration_memory(configuration, len(plan.labels.values))
    share = configuration.batch_size / REFERENCE_BATCH_SIZE[ndim]
    return estimate * share / planner.reference[ndim] * planner.gpu_memory_gb
