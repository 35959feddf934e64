"""What a plan must fulfil beyond the shape of its parts; checked where people edit plans or bring them along."""

from segfw.core.errors import UsageError
from segfw.core.plan import Configuration, Plan


def check_plan(plan: Plan) -> None:
    """Raise `UsageError` that names the place of the first contradiction in `plan`."""
    channels = len(plan.channel_names)
    if len(plan.intensities) != channels:
        raise UsageError(
            f"intensities needs one entry per channel {list(plan.channel_names)}, got {len(plan.intensities)}"
        )
    for key in ("original_median_spacing_after_transp", "original_median_shape_after_transp", "transpose_forward"):
        if len(getattr(plan, key)) != 3:
            raise UsageError(f"{key} needs 3 entries, got {getattr(plan, key)}")
    forward = plan.transpose_forward
    if sorted(forward) != [0, 1, 2]:
        raise UsageError(f"transpose_forward must be an order of the axes 0, 1 and 2, got {forward}")
    backward = tuple(forward.index(axis) for axis in range(3))
    if plan.transpose_backward != backward:
        raise UsageError(
            f"transpose_backward must undo transpose_forward {forward}: {backward}, got {plan.transpose_backward}"
        )
    for name, configuration in plan.configurations.items():
        place = f"configurations.{name}"
        check_configuration(configuration, channels, place)
        for key in ("previous_stage", "next_stage"):
            stage = getattr(configuration, key)
            if stage is not None and stage not in plan.configurations:
                raise UsageError(f"{place}.{key} must be one of {list(plan.configurations)}, got {stage!r}")


def check_configuration(configuration: Configuration, num_channels: int, place: str) -> None:
    """Raise `UsageError` that names the first key below `place` whose values no network or image could have."""
    for key in ("normalization_schemes", "use_mask_for_norm"):
        values = getattr(configuration, key)
        if len(values) != num_channels:
            raise UsageError(f"{place}.{key} needs one entry for each of {num_channels} channels, got {values}")
    for key in ("features_per_stage", "n_conv_per_stage", "n_conv_per_stage_decoder"):
        values = getattr(configuration, key)
        if any(value < 1 for value in values):
            raise UsageError(f"{place}.{key} must be at least 1 everywhere, got {values}")
    if len(configuration.median_image_size_in_voxels) != len(configuration.spacing):
        raise UsageError(
            f"{place}.median_image_size_in_voxels needs {len(configuration.spacing)} entries like spacing, "
            f"got {configuration.median_image_size_in_voxels}"
        )
    if any(width < 1 or width % 2 == 0 for row in configuration.kernel_sizes for width in row):
        raise UsageError(f"{place}.kernel_sizes must be odd, got {configuration.kernel_sizes}")
    first, *others = configuration.strides
    if set(first) != {1} or any(step < 1 for row in others for step in row):
        raise UsageError(f"{place}.strides must be at least 1, and 1 in the first stage, got {configuration.strides}")
