"""Segment a NIfTI image with a model of `segfw export format=onnx`, by numpy and onnxruntime alone.

python predict_onnx.py MODEL_FOLDER OUT.nii.gz CHANNEL_0.nii.gz [CHANNEL_1.nii.gz ...]

It is as short as can be, and refuses what it would get wrong: models of several configurations or with normalization
inside a mask, and resampling of images or models with a coarse axis (spacing beyond 3:1).
"""

import gzip
import itertools
import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime

TYPES = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4"}
SCALED = {
    "zscore": lambda x, s: (x - x.mean()) / max(x.std(), 1e-8),
    "ct": lambda x, s: (np.clip(x, s["percentile_00_5"], s["percentile_99_5"]) - s["mean"]) / max(s["std"], 1e-8),
    "rescale_to_0_1": lambda x, s: (x - x.min()) / max(np.ptp(x), 1e-8),
    "rgb_to_0_1": lambda x, s: x / 255,
    "nonorm": lambda x, s: x,
}


def read(path):
    """Return header, voxels (Z, Y, X) and spacing of a NIfTI-1 file."""
    data = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
    size, ndim, *shape, extra, code = struct.unpack_from("<i36x5h20xh", data)
    x, y, z, start, slope, shift = struct.unpack_from("<80x3f16x3f", data)
    if size != 348 or code not in TYPES or (ndim > 3 and extra > 1):
        sys.exit(f"{path}: this example reads little-endian NIfTI-1 of three axes and real numbers")
    voxels = np.frombuffer(data, TYPES[code], int(np.prod(shape)), int(start)).reshape(shape[::-1]).astype("f8")
    return data[: int(start)], (voxels * slope + shift if slope else voxels).astype("f4"), (z, y, x)


def resize(x, shape, order):
    """Resize by splines of order 3 or 1, the edge continued by 12 samples, limited to the range before."""
    low, high = x.min(), x.max()
    for axis, (n, m) in enumerate(zip(x.shape, shape, strict=True)):
        at, knots = (np.arange(m) + 0.5) * (n / m) + 11.5, np.arange(n + 24)
        far, edge = abs(at[:, None] - knots), np.pad(np.eye(n), ((12, 12), (0, 0)), mode="edge")
        cubic = np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(0, 2 - far) ** 3 / 6)
        system = np.interp(abs(knots[:, None] - knots), [0, 1, 2], [2 / 3, 1 / 6, 0])
        matrix = cubic @ np.linalg.solve(system, edge) if order == 3 else np.maximum(0, 1 - far) @ edge
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return np.clip(x, low, high).astype("f4")


def slide(x, patch, model, sessions):
    """Return mean logits over overlapping windows, mirrorings and folds; 2D networks see slice by slice."""
    tile, axes = (1, *patch)[-3:], [axis + 2 for axis in model["mirror_axes"] if axis < len(patch)]
    gaps = [max(0, t - n) for n, t in zip(x.shape[1:], tile, strict=True)]
    x = np.pad(x, [(0, 0), *((gap // 2, gap - gap // 2) for gap in gaps)])
    starts = []
    for n, t in zip(x.shape[1:], tile, strict=True):
        count = int(np.ceil((n - t) / (t * model["step_size"]))) if t > 1 else n - 1
        starts.append([round((n - t) / max(count, 1) * i) for i in range(count + 1)])
    bell = np.ix_(*(np.exp(-32 * ((np.arange(n) - n // 2) / n) ** 2) for n in tile))
    weight = (10 * bell[0] * bell[1] * bell[2]).astype("f2").astype("f4")
    weight[weight == 0] = weight[weight > 0].min()
    flips = [flip for k in range(len(axes) + 1) for flip in itertools.combinations(axes, k)]
    logits, norm = np.zeros((len(model["heads"]), *x.shape[1:]), "f4"), np.zeros(x.shape[1:], "f4")
    for corner in itertools.product(*starts):
        part = tuple(slice(c, c + t) for c, t in zip(corner, tile, strict=True))
        window = x[:, *part].reshape(1, len(x), *patch)
        runs = [np.flip(s.run(None, {"image": np.flip(window, f).copy()})[0], f) for f in flips for s in sessions]
        logits[:, *part] += np.mean(runs, axis=0).reshape(-1, *tile) * weight
        norm[part] += weight
    inner = (slice(gap // 2, n - (gap - gap // 2)) for gap, n in zip(gaps, norm.shape, strict=True))
    return (logits / norm)[:, *inner]


def main(folder, target, *sources):
    """Predict and write a label map in the first channel's geometry."""
    model = json.loads(Path(folder, "model.json").read_text())
    chosen, *others = model["configurations"].values()
    forward, norms, how = model["transpose_forward"], chosen["normalization"], chosen["resampling"]
    headers, images, spacings = zip(*map(read, sources), strict=True)
    image = np.stack([voxels.transpose(forward) for voxels in images])
    found = np.nonzero(image.any(0))
    box = tuple(slice(f.min(), f.max() + 1) for f in found) if len(found[0]) else (slice(None),) * 3
    old, size = [spacings[0][axis] for axis in forward], image[0][box].shape
    new = [old[0], *chosen["spacing"]][-3:]
    shape = tuple(max(1, round(o / n * k)) for o, n, k in zip(old, new, size, strict=True))
    apart = shape != size and (how["force_separate_z"] or any(max(s) / min(s) > 3 for s in (old, new)))
    other_orders = {how["order_image"], how["order_probabilities"]} - {1, 3}
    if others or apart or other_orders or any(n["use_mask"] for n in norms) or len(sources) != len(norms):
        sys.exit(
            f"this example takes {model['channels']}, one configuration, no masks, no coarse axis, splines of 1 or 3"
        )
    scaled = [SCALED[n["scheme"]](channel[box], n) for channel, n in zip(image, norms, strict=True)]
    sessions = [onnxruntime.InferenceSession(Path(folder, member["file"])) for member in model["members"]]
    x = np.stack([resize(channel, shape, how["order_image"]) for channel in scaled])
    logits = slide(x, chosen["patch_size"], model, sessions)
    scores = np.stack([resize(head, size, how["order_probabilities"]) for head in logits])
    labels, regions = np.zeros(image[0].shape, "u1"), model["regions_class_order"]
    labels[box] = 0 if regions else scores.argmax(0)
    for value, score in zip(regions or (), scores, strict=False):
        labels[box][score > 0] = value
    header = bytearray(headers[0])
    header[70:74], header[112:120] = struct.pack("<2h", 2, 8), struct.pack("<2f", 1, 0)  # unsigned bytes as they are
    with (gzip.open if target.endswith(".gz") else open)(target, "wb") as file:
        file.write(bytes(header) + labels.transpose(model["transpose_backward"]).tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
