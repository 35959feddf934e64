"""Small configurations to build networks from."""

from typing import Any

from segfw.core.plan import Configuration


def make_configuration(
    strides: list[list[int]], features_per_stage: list[int], architecture: str = "unet", **changes: Any
) -> Configuration:
    """Make a configuration whose patch is four voxels at the lowest resolution."""
    ndim, stages = len(strides[0]), len(strides)
    patch = [4] * ndim
    for row in strides:
        patch = [n * s for n, s in zip(patch, row, strict=True)]
    values: dict[str, Any] = {
        "kernel_sizes": [(3,) * ndim] * stages,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2 if architecture == "unet" else 1] * (stages - 1),
    }
    values |= {"strides": strides, "features_per_stage": features_per_stage} | changes
    frozen = {name: tuple(tuple(v) if isinstance(v, list) else v for v in value) for name, value in values.items()}
    return Configuration(
        spacing=(1.0,) * ndim,
        patch_size=tuple(patch),
        batch_size=2,
        median_image_size_in_voxels=tuple(map(float, patch)),
        architecture=architecture,
        normalization_schemes=("zscore",),
        use_mask_for_norm=(False,),
        batch_dice=False,
        **frozen,
    )


# the first stride in plane only
PLAIN_3D = make_configuration([[1, 1, 1], [1, 2, 2], [2, 2, 2]], [4, 6, 8])
# the last two stages of equal width, so that a shortcut without projection occurs
RESIDUAL_2D = make_configuration([[1, 1], [2, 2], [2, 2], [2, 2]], [4, 6, 8, 8], "residual_unet")
# a plan for thick slices: flat kernels first, and strides of its own on every axis
ANISOTROPIC_3D = make_configuration(
    [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]],
    [4, 6, 8, 8],
    kernel_sizes=[(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)],
    n_conv_per_stage=[2, 1, 3, 2],
    n_conv_per_stage_decoder=[1, 2, 3],
)
ONE_STAGE_2D = make_configuration([[1, 1]], [4])
