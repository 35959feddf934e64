"""What each block of a plan's YAML means and which rule fills it; thresholds are those that the rules declare."""

from segfw.core.imaging.resampling import ANISOTROPY
from segfw.core.planning.fingerprint import PERCENTILES
from segfw.core.planning.inheritance import INHERITS
from segfw.core.planning.patch_size import BASE_FEATURES, MAX_FEATURES, MIN_BATCH_SIZE
from segfw.core.planning.planning import LOWRES_BELOW, LOWRES_MIN_RATIO, LOWRES_STEP, MASK_NORMALIZATION_BELOW
from segfw.core.planning.spacing import ANISOTROPY_THRESHOLD, COARSE_AXIS_PERCENTILE
from segfw.core.planning.topology import MIN_FEATURE_MAP_EDGE, POOLING_SPACING_RATIO

HEADER = (
    "What the planning rules of nnU-Net (Isensee et al. 2021) decided for this dataset. Edit it freely: an edited plan "
    "is used as it is. Spacings are in millimetres, sizes in voxels, in the planned order of axes. 'Rule' says how a "
    "value is chosen, 'Here' which numbers of this dataset decided it when the plan was made."
)

COMMENTS = {
    "dataset_name": "The dataset this was planned for, and the rules that planned it; use checks both.",
    "channel_names": "One per input channel. Rule: the name decides the normalization (CT: clipped; others: z-scored) "
    "unless task.normalization states another.",
    "labels": "Label values; a list of values is a region. regions_class_order: the value painted for each region, in "
    "painting order. Rule: regions are learned with one sigmoid channel each, plain labels with a softmax.",
    "original_median_spacing_after_transp": "Medians of the raw images, in planned order of axes; for information.",
    "transpose_forward": "Order of axes: entry i is the image axis (0: Z, 1: Y, 2: X) that becomes axis i; "
    "transpose_backward undoes it. Rule: the axis of largest spacing goes first.",
    "intensities": "Per channel: statistics of foreground voxels over all cases. Rule: CT is clipped to the "
    f"percentiles {PERCENTILES[0]:g} and {PERCENTILES[-1]:g}, then mean is subtracted and divided by std; task.window "
    "puts its edges, level and half its width in their places.",
    "configurations": "The networks that can be trained. Rule: 2d always, 3d_fullres unless images are single slices; "
    f"3d_lowres and the cascade where a patch of 3d_fullres covers less than {100 * LOWRES_BELOW:g} % of the median "
    f"image, and the resolution at which it covers that has at least {LOWRES_MIN_RATIO:g} times fewer voxels.",
}

CONFIGURATION_COMMENTS = {
    INHERITS: "All of the named configuration but for the keys below; any configuration may be written so.",
    "spacing": "Every image is resampled to this spacing. Rule: the median of the dataset, but the "
    f"{COARSE_AXIS_PERCENTILE:g}th percentile along a coarse axis, one more than {ANISOTROPY_THRESHOLD:g} times as "
    f"coarse as the others and with less than 1/{ANISOTROPY_THRESHOLD:g} of their voxels; in 3d_lowres grown by "
    f"{100 * (LOWRES_STEP - 1):.3g} % at a time until a patch covers {100 * LOWRES_BELOW:g} % of the median image. "
    "2d: the two axes after the first.",
    "patch_size": "What the network sees at once, and how many of these per step. Rule: the largest patch that fits "
    "the memory, a multiple of the product of the strides; then the largest batch, at most a share of the dataset's "
    f"voxels, at least {MIN_BATCH_SIZE}.",
    "median_image_size_in_voxels": "Median size of the images at this spacing. plan.refit, and the fit of "
    "another network, take the dataset's size from it: who edits the spacing rescales this too (plan.spacing does).",
    "architecture": "unet (plain convolutions) or residual_unet (residual encoder), and channels per stage. Rule: "
    f"{BASE_FEATURES}, doubled at each stage up to {MAX_FEATURES[2]} (2D) or {MAX_FEATURES[3]} (3D).",
    "kernel_sizes": f"One row per stage. Rule: an axis is halved while {MIN_FEATURE_MAP_EDGE} voxels remain and its "
    f"voxels are less than {POOLING_SPACING_RATIO:g} times as long as the finest; kernels stay 1 along an axis until "
    "the others have caught up with its spacing.",
    "n_conv_per_stage": "Convolutions (unet) or residual blocks (residual_unet) per encoder stage; convolutions per "
    "decoder stage, deepest first.",
    "normalization_schemes": "Per channel: ct, zscore, nonorm, rescale_to_0_1 or rgb_to_0_1; use_mask_for_norm: "
    "z-score inside the nonzero region only. Rule: used where cropping leaves less than "
    f"{100 * MASK_NORMALIZATION_BELOW:g} % of the volume.",
    "batch_dice": "Dice over the whole batch instead of per sample. Rule: in 2d, and in 3d_fullres where there is a "
    "3d_lowres.",
    "resampling": f"Spline orders. Rule: a coarse axis (spacing over {ANISOTROPY:g} times the others') is resampled on "
    "its own, with order_z; force_separate_z: true or false overrules that.",
    "previous_stage": "The cascade: the configuration whose segmentation is a further input, and the one that takes "
    "this one's.",
}
