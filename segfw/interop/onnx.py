"""A packaged model for onnxruntime: a network per file, and a JSON that says everything around them.

    model.json                    channels, labels, axis order, spacing, normalization, windows, resampling, members
    3d_fullres_fold_0.onnx        `image` (batch, channels, *patch) float32 -> `logits` (batch, heads, *patch) float32
    3d_fullres_before.onnx        from an image to what windows are cut from, and
    3d_fullres_after.onnx         from its logits to labels: see `onnx_grids`

The batch may have any size. The exporter's notes, which name files of this machine, are taken out. Each file is run
beside PyTorch right after it is written, and refused if they differ.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from segfw.core.errors import JobError, UsageError
from segfw.core.imaging.resampling import separate_axis
from segfw.core.plan import Configuration, IntensityStatistics, Plan
from segfw.core.support.conversion import to_plain
from segfw.core.support.files import sha256, write_text
from segfw.core.version import __version__
from segfw.inference.bundle import Bundle, Member, refuse_cascade
from segfw.inference.predictor import check_trust, load_network
from segfw.interop.onnx_grids import LARGEST_LABEL, WEIGHTS, write_after, write_before
from segfw.nn.build import cut

log = logging.getLogger(__name__)

DESCRIPTION = "model.json"
FORMAT, FORMAT_VERSION = "segfw-onnx", 1
MOST_DIFFERENT = 1e-3
BEFORE, AFTER = "{}_before.onnx", "{}_after.onnx"
NOTES = {"metadata_props", "doc_string"}
INSTALL = 'pip install "segfw[onnx]"  (or: pip install onnx onnxscript onnxruntime)'
NOISE = ("torch.onnx", "onnxscript", "onnx_ir")
AROUND = {
    "axes": "an image file's axes reversed: (channel, Z, Y, X), spacing in mm likewise; then transpose_forward",
    "steps": "transpose, crop, normalize, resample, windows, resample back, decode, uncrop, transpose_backward",
    "cropping": "to the smallest box that holds every voxel where some channel is not 0; outside it is background",
    "mask": "use_mask: normalize inside the nonzero voxels with their holes filled; what lies outside stays as it is",
    "resampling": "the coarse axis of a spacing of more than 3:1 (of the image, else of the model) with order_z, the "
    "others with order_image before (result limited to the range before) and order_probabilities after",
    "before": "image (C, Z, Y, X) turned and cropped, spacing (3, float64) -> windowed: normalized, resampled, padded; "
    "shape: its size without the padding. For images without a coarse axis; null where needs names what it lacks",
    "after": "logits on that grid, shape, size (3) of the turned and cropped image -> labels (*size), likewise",
    "mirrorings": "the axes of a network's input (batch, channel, ...) to flip, and to flip its output back by",
    "window_weights": "the Gaussian along each axis of the window, of peak 1; their product is at least 6e-9",
    "windows": "evenly spread, at most step_size patches apart, image padded with 0; each averaged over all "
    "combinations of mirror_axes; weighted by a Gaussian of sigma patch / 8 around voxel patch // 2",
    "postprocessing": "on the label map, in order; keep_largest: the mask of values keeps its largest components (26 "
    "neighbours); fill_holes: background enclosed by the mask alone (6 neighbours) becomes fill; remove_small: "
    "components below minimum_mm3 are removed",
    "ensembling": "folds of a configuration: mean of logits; configurations: mean of probabilities on the image's grid",
    "decoding": "labels: first largest head; regions: sigmoid above 0.5, painted in the order of heads",
}


def export_onnx(bundle: Bundle, folder: Path, trust_code: bool = False) -> dict[str, float]:
    """Write the model's files into `folder` and return the largest difference to PyTorch of each.

    `trust_code`: import a network that the model only names, which runs its code. Raises `UsageError` with the `pip`
    line where the packages are missing, `JobError` when a difference is above 1e-3 or the network cannot be exported.
    """
    check_trust(bundle, trust_code)
    refuse_cascade(bundle, "onnx")
    packages = _require_packages()
    folder.mkdir(parents=True, exist_ok=True)
    members, differences = [], {}
    for member in bundle.members:
        network = load_network(bundle.plan, member).eval()
        cut(network, bundle.inference.depth)
        path = folder / f"{member.configuration}_fold_{member.fold}.onnx"
        shape = (len(bundle.plan.channel_names), *bundle.plan.configuration(member.configuration).patch_size)
        _write(network, shape, path)
        _forget_origin(packages.format, path)
        difference = largest_difference(network, shape, path, packages.runtime)
        if not difference <= MOST_DIFFERENT:
            raise JobError(
                f"{path.name}: onnxruntime's logits differ from PyTorch's by {difference:.1e}, "
                f"allowed is {MOST_DIFFERENT:.0e}; nothing was exported"
            )
        differences[path.name] = difference
        members.append(_member(member, path))
    for name in dict.fromkeys(member.configuration for member in bundle.members):
        _write_grids(folder, bundle.plan, name, packages.format)
    write_text(folder / DESCRIPTION, json.dumps(describe(bundle, members), indent=1) + "\n")
    return differences


def describe(bundle: Bundle, members: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of model.json: all that is needed to go from an image file to a label map."""
    plan, labels = bundle.plan, bundle.plan.labels
    heads = [] if labels.has_regions else [{"name": "background", "values": [0]}]
    heads += [{"name": name, "values": list(values)} for name, values in labels.foreground]
    used = dict.fromkeys(member.configuration for member in bundle.members)
    mirror_axes = list(bundle.mirror_axes) if bundle.inference.mirror else []
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made_with": {"segfw": __version__, "torch": str(torch.__version__)},
        "name": plan.dataset_name,
        "channels": list(plan.channel_names),
        "heads": heads,
        "regions_class_order": list(labels.regions_class_order or ()) if labels.has_regions else None,
        "transpose_forward": list(plan.transpose_forward),
        "transpose_backward": list(plan.transpose_backward),
        "mirror_axes": mirror_axes,
        "step_size": bundle.inference.step_size,
        "gaussian": {"sigma_share": 0.125, "peak": 10, "dtype": "float16", "zeros": "smallest other weight"},
        "configurations": {name: _configuration(plan, name, mirror_axes) for name in used},
        "postprocessing": to_plain(bundle.postprocessing),
        "members": members,
        "needs": needs(bundle),
        "in_words": AROUND,
    }


def needs(bundle: Bundle) -> list[str]:
    """List what a program must be able to do by itself; one that lacks any of it must refuse the model.

    The plain case is one configuration of 3D windows, with `before` and `after` for what surrounds them.
    """
    names = list(dict.fromkeys(member.configuration for member in bundle.members))
    used = [bundle.plan.configuration(name) for name in names]
    found = [what for configuration in used for what in _without_graph(bundle.plan, configuration)]
    found += ["several configurations"] if len(used) > 1 else []
    found += ["postprocessing"] if bundle.postprocessing else []
    return list(dict.fromkeys(found))


def _without_graph(plan: Plan, configuration: Configuration) -> list[str]:
    """List what the graphs before and after the network cannot do, so that there are none."""
    resampling, spacing = configuration.resampling, configuration.spacing
    orders = {resampling.order_image, resampling.order_probabilities}
    found = {
        "2D windows": len(spacing) == 2,
        "normalization inside a mask": any(configuration.use_mask_for_norm),
        "a coarse axis resampled apart": separate_axis(spacing, spacing, resampling.force_separate_z) is not None,
        "splines of another order than 1 and 3": not orders <= set(WEIGHTS),
        f"labels above {LARGEST_LABEL}": max(max(key) for _, key in plan.labels.foreground) > LARGEST_LABEL,
    }
    return [what for what, is_so in found.items() if is_so]


def _write_grids(folder: Path, plan: Plan, name: str, package: Any) -> None:
    configuration = plan.configuration(name)
    if not _without_graph(plan, configuration):
        write_before(folder / BEFORE.format(name), configuration, plan.intensities, package)
        write_after(folder / AFTER.format(name), configuration, plan.labels, package)


def largest_difference(network: nn.Module, shape: tuple[int, ...], path: Path, runtime: Any) -> float:
    """Return by how much onnxruntime's logits differ from PyTorch's on random windows, one alone and two at once."""
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = []
    for batch in (1, 2):
        image = torch.randn((batch, *shape), generator=torch.Generator().manual_seed(batch))
        with torch.inference_mode():
            expected = network(image).float().numpy()
        (logits,) = session.run(None, {"image": image.numpy()})
        differences.append(float(np.abs(expected - logits).max()) if logits.shape == expected.shape else float("inf"))
    return max(differences)


class _Packages(NamedTuple):
    """The modules onnx and onnxruntime."""

    format: Any
    runtime: Any


def _require_packages() -> _Packages:
    """Return the modules of the extra; `UsageError` with the `pip` line that brings them."""
    try:
        import onnx
        import onnx.parser
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"format=onnx needs the package {error.name}, which is not installed: {INSTALL}") from error
    return _Packages(onnx, onnxruntime)


def _write(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    example = torch.zeros((2, *shape))  # 2: a batch of 1 would be taken for a fixed one
    try:
        with _quiet():
            torch.onnx.export(
                network,
                (example,),
                str(path),
                dynamo=True,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise JobError(f"{path.name}: this network cannot be exported to ONNX: {reason}") from error


def _forget_origin(package: Any, path: Path) -> None:
    """Remove the stack traces and other notes that the exporter attaches to every part, however deep it lies."""
    model = package.load(str(path))
    for part in _parts(model):
        for note in NOTES.intersection(field.name for field in part.DESCRIPTOR.fields):
            part.ClearField(note)
    package.checker.check_model(model)
    package.save(model, str(path))


def _parts(message: Any) -> Iterator[Any]:
    """Yield a message and all below it: graphs, functions, their nodes, and the graphs that are attributes of those."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for below in (value,) if hasattr(value, "ListFields") else value:
                yield from _parts(below)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on packages that are not needed, and on PyTorch's own future, to itself."""
    loggers = [logging.getLogger(name) for name in NOISE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _member(member: Member, path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "configuration": member.configuration,
        "fold": member.fold,
        "sha256": sha256(path),
    }


def _configuration(plan: Plan, name: str, mirror_axes: Sequence[int]) -> dict[str, Any]:
    configuration = plan.configuration(name)
    axes = [2 + axis for axis in mirror_axes if axis < len(configuration.patch_size)]
    bare = bool(_without_graph(plan, configuration))
    channels = zip(configuration.normalization_schemes, configuration.use_mask_for_norm, plan.intensities, strict=True)
    return {
        "spacing": list(configuration.spacing),
        "patch_size": list(configuration.patch_size),
        "normalization": [_normalization(*channel) for channel in channels],
        "resampling": asdict(configuration.resampling),
        "mirrorings": [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)],
        "window_weights": [
            [float(weight) for weight in np.exp(-32 * ((np.arange(extent) - extent // 2) / extent) ** 2)]
            for extent in configuration.patch_size
        ],
        "before": None if bare else BEFORE.format(name),
        "after": None if bare else AFTER.format(name),
    }


def _normalization(scheme: str, use_mask: bool, over_dataset: IntensityStatistics) -> dict[str, Any]:
    """Return a channel's scheme, with the statistics where it takes them from the dataset."""
    described: dict[str, Any] = {"scheme": scheme, "use_mask": use_mask}
    if scheme == "ct":
        keys = ("mean", "std", "percentile_00_5", "percentile_99_5")
        described |= {key: getattr(over_dataset, key) for key in keys}
    return described
