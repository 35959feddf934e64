"""The `configurations` of an nnU-Net v2 plans file: inheritance, class names, resampling functions, older keys."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.plan import Configuration, Resampling
from segfw.core.planning.patch_size import MAX_FEATURES
from segfw.core.support.conversion import to_plain
from segfw.interop.nnunet_blocks import ENCODER_COUNTS, refuse_other_blocks
from segfw.interop.nnunet_entries import entry_of

NORMALIZATION_CLASSES = {
    "ct": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "nonorm": "NoNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}
NETWORK_CLASSES = {
    "unet": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "residual_unet": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
}
_SHARED_DATA = ("2d", "3d_fullres")  # the ResEnc planners read what the default planner preprocessed
_COPIED_KEYS = (
    "spacing",
    "patch_size",
    "batch_size",
    "median_image_size_in_voxels",
    "use_mask_for_norm",
    "batch_dice",
)
_PREPROCESSOR = "DefaultPreprocessor"
_RESAMPLING_FUNCTION = "resample_data_or_seg_to_shape"


def configurations_to_json(configurations: Mapping[str, Configuration], plans_name: str) -> dict[str, Any]:
    """Return the `configurations` of a plans file.

    A configuration that is another one with a previous stage inherits from it, as nnU-Net writes its cascade.
    """
    entries: dict[str, Any] = {}
    for name, configuration in configurations.items():
        parent = _parent(configurations, configuration)
        if parent is not None:
            entries[name] = {"inherits_from": parent, "previous_stage": configuration.previous_stage}
        else:
            residual = configuration.architecture == "residual_unet"
            owner = "nnUNetPlans" if residual and name in _SHARED_DATA else plans_name
            entries[name] = _configuration_to_json(configuration, f"{owner}_{name}")
    return entries


def configurations_from_json(entries: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Translate the `configurations` of a plans file into our keys, inheritance resolved; values are not checked here.

    Raises `UsageError` for a missing key or another form, `ArtefactError` for what this package has no equivalent of.
    """
    return {name: _configuration_from_json(_resolved(entries, name), f"configurations.{name}") for name in entries}


def _parent(configurations: Mapping[str, Configuration], configuration: Configuration) -> str | None:
    if configuration.previous_stage is None:
        return None
    alone = replace(configuration, previous_stage=None)
    return next((name for name, other in configurations.items() if other == alone), None)


def _configuration_to_json(configuration: Configuration, data_identifier: str) -> dict[str, Any]:
    """Write one configuration. The median size of a low-resolution stage is written as integers, as nnU-Net does."""
    median = configuration.median_image_size_in_voxels
    whole = configuration.next_stage is not None and all(edge.is_integer() for edge in median)
    entry = {
        "data_identifier": data_identifier,
        "preprocessor_name": _PREPROCESSOR,
        "batch_size": configuration.batch_size,
        "patch_size": list(configuration.patch_size),
        "median_image_size_in_voxels": [int(edge) if whole else edge for edge in median],
        "spacing": list(configuration.spacing),
        "normalization_schemes": [NORMALIZATION_CLASSES[scheme] for scheme in configuration.normalization_schemes],
        "use_mask_for_norm": list(configuration.use_mask_for_norm),
        **_resampling_to_json(configuration.resampling),
        "architecture": _architecture_to_json(configuration),
        "batch_dice": configuration.batch_dice,
    }
    links = {"previous_stage": configuration.previous_stage, "next_stage": configuration.next_stage}
    return entry | {key: value for key, value in links.items() if value is not None}


def _resampling_to_json(resampling: Resampling) -> dict[str, Any]:
    shared = {"order_z": resampling.order_z, "force_separate_z": resampling.force_separate_z}

    def arguments(order: int, is_seg: bool) -> dict[str, Any]:
        return {"is_seg": is_seg, "order": order, **shared}

    return {
        "resampling_fn_data": _RESAMPLING_FUNCTION,
        "resampling_fn_seg": _RESAMPLING_FUNCTION,
        "resampling_fn_data_kwargs": arguments(resampling.order_image, is_seg=False),
        "resampling_fn_seg_kwargs": arguments(resampling.order_label, is_seg=True),
        "resampling_fn_probabilities": _RESAMPLING_FUNCTION,
        "resampling_fn_probabilities_kwargs": arguments(resampling.order_probabilities, is_seg=False),
    }


def _architecture_to_json(configuration: Configuration) -> dict[str, Any]:
    ndim = len(configuration.spacing)
    if configuration.architecture not in NETWORK_CLASSES:
        raise UsageError(f"nnU-Net knows {list(NETWORK_CLASSES)}; it has no {configuration.architecture!r}")
    return {
        "network_class_name": NETWORK_CLASSES[configuration.architecture],
        "arch_kwargs": {
            "n_stages": len(configuration.strides),
            "features_per_stage": list(configuration.features_per_stage),
            "conv_op": f"torch.nn.modules.conv.Conv{ndim}d",
            "kernel_sizes": to_plain(configuration.kernel_sizes),
            "strides": to_plain(configuration.strides),
            ENCODER_COUNTS[configuration.architecture]: list(configuration.n_conv_per_stage),
            "n_conv_per_stage_decoder": list(configuration.n_conv_per_stage_decoder),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _resolved(entries: dict[str, Any], name: str, children: tuple[str, ...] = ()) -> dict[str, Any]:
    """Lay a configuration's own keys over those of the one it inherits from."""
    if name in children:
        raise UsageError(f"configurations inherit from one another in a circle: {' -> '.join((*children, name))}")
    if name not in entries:
        raise UsageError(f"configurations.{children[-1]} inherits from {name!r}, which is not among {list(entries)}")
    own: dict[str, Any] = entry_of(entries, name, dict, place="configurations")
    if own.get("inherits_from") is None:
        return own
    parent = entry_of(own, "inherits_from", str, place=f"configurations.{name}")
    return _resolved(entries, parent, (*children, name)) | own


def _configuration_from_json(entry: dict[str, Any], place: str) -> dict[str, Any]:
    read = _architecture_from_json if "architecture" in entry else _old_architecture
    preprocessor = entry.get("preprocessor_name", _PREPROCESSOR)
    if preprocessor != _PREPROCESSOR:
        raise ArtefactError(f"{place}.preprocessor_name: no equivalent of {preprocessor!r}; known: {_PREPROCESSOR!r}")
    copied = {key: entry_of(entry, key, place=place) for key in _COPIED_KEYS}
    schemes = entry_of(entry, "normalization_schemes", list, place=place)
    return {
        **copied,
        "normalization_schemes": [_normalization(name, place) for name in schemes],
        "resampling": _resampling_from_json(entry, place),
        "previous_stage": entry.get("previous_stage"),
        "next_stage": entry.get("next_stage"),
        **read(entry, place),
    }


def _normalization(class_name: Any, place: str) -> str:
    for scheme, known_class in NORMALIZATION_CLASSES.items():
        if class_name == known_class:
            return scheme
    known = list(NORMALIZATION_CLASSES.values())
    raise ArtefactError(f"{place}.normalization_schemes: no equivalent of {class_name!r}; known: {known}")


def _resampling_from_json(entry: dict[str, Any], place: str) -> dict[str, Any]:
    """Read the three resampling functions: nnU-Net's default one, agreeing on how a coarse axis is treated."""
    orders: dict[str, Any] = {}
    for role, key in (("data", "order_image"), ("seg", "order_label"), ("probabilities", "order_probabilities")):
        function = entry_of(entry, f"resampling_fn_{role}", place=place)
        arguments = entry_of(entry, f"resampling_fn_{role}_kwargs", dict, place=place)
        if function != _RESAMPLING_FUNCTION:
            raise ArtefactError(
                f"{place}.resampling_fn_{role}: only {_RESAMPLING_FUNCTION!r} is known, got {function!r}"
            )
        shared = {"order_z": arguments.get("order_z", 0), "force_separate_z": arguments.get("force_separate_z")}
        if not shared.items() <= (shared | orders).items():
            raise ArtefactError(
                f"{place}.resampling_fn_{role}_kwargs: order_z and force_separate_z differ between roles"
            )
        orders |= {key: entry_of(arguments, "order", place=f"{place}.resampling_fn_{role}_kwargs"), **shared}
    return orders


def _architecture_from_json(entry: dict[str, Any], place: str) -> dict[str, Any]:
    architecture = entry_of(entry, "architecture", dict, place=place)
    place = f"{place}.architecture"
    arguments = entry_of(architecture, "arch_kwargs", dict, place=place)
    kind = _architecture_name(entry_of(architecture, "network_class_name", str, place=place), place)
    place = f"{place}.arch_kwargs"
    refuse_other_blocks(arguments, place)
    strides = _strides(arguments, "strides", place)
    stages, ndim = len(strides), len(strides[0])
    kernels = _broadcast(entry_of(arguments, "kernel_sizes", place=place), stages)
    return {
        "architecture": kind,
        "features_per_stage": _broadcast(entry_of(arguments, "features_per_stage", place=place), stages),
        "kernel_sizes": [_broadcast(kernel, ndim) for kernel in kernels],
        "strides": strides,
        "n_conv_per_stage": _broadcast(entry_of(arguments, ENCODER_COUNTS[kind], place=place), stages),
        "n_conv_per_stage_decoder": _broadcast(
            entry_of(arguments, "n_conv_per_stage_decoder", place=place), stages - 1
        ),
    }


def _old_architecture(entry: dict[str, Any], place: str) -> dict[str, Any]:
    """Read the topology from the keys that plans had before they held an `architecture`."""
    strides = _strides(entry, "pool_op_kernel_sizes", place)
    base = entry_of(entry, "UNet_base_num_features", int, place=place)
    largest = MAX_FEATURES.get(len(strides[0]))
    if "unet_max_num_features" in entry or largest is None:
        largest = entry_of(entry, "unet_max_num_features", int, place=place)
    return {
        "architecture": _architecture_name(entry_of(entry, "UNet_class_name", str, place=place), place),
        "features_per_stage": [min(base * 2**stage, largest) for stage in range(len(strides))],
        "kernel_sizes": entry_of(entry, "conv_kernel_sizes", place=place),
        "strides": strides,
        "n_conv_per_stage": entry_of(entry, "n_conv_per_stage_encoder", place=place),
        "n_conv_per_stage_decoder": entry_of(entry, "n_conv_per_stage_decoder", place=place),
    }


def _strides(content: dict[str, Any], key: str, place: str) -> list[list[Any]]:
    """Return one list of strides per stage, at least one."""
    strides = entry_of(content, key, list, place=place)
    if not strides or not all(isinstance(row, list) and row for row in strides):
        raise UsageError(f"{place}.{key} must be a list of strides for each stage, got {strides!r}")
    return list(strides)


def _architecture_name(class_name: str, place: str) -> str:
    """Name our architecture for a class; its module does not matter, since it moved between versions."""
    for name, known in NETWORK_CLASSES.items():
        if class_name.rpartition(".")[2] == known.rpartition(".")[2]:
            return name
    raise ArtefactError(f"{place}: no equivalent of the network {class_name!r}; known: {list(NETWORK_CLASSES)}")


def _broadcast(value: Any, count: int) -> list[Any]:
    """Repeat a single value for every entry; leave a list as it is."""
    return list(value) if isinstance(value, list | tuple) else [value] * count
