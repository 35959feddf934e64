"""Segment a NIfTI with numpy and onnxruntime: python predict_onnx.py MODEL_FOLDER OUT.nii.gz CHANNEL_0.nii.gz [...]

The folder is of `segfw export format=onnx`. Refused: models that need more than its graphs do (`needs` in model.json),
images with a spacing beyond 3:1, and files that are not little-endian NIfTI-1 of three axes and real numbers.
"""

import gzip
import itertools
import json
import struct
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

TYPES = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4"}


def read(path):
    """Return what precedes the voxels, the voxels (Z, Y, X), and their spacing."""
    data = (gzip.open if path.endswith(".gz") else open)(path, "rb").read()
    size, ndim, *shape, extra, code, x, y, z, start, slope, shift = struct.unpack_from("<i36x5h20xh8x3f16x3f", data)
    if size != 348 or ndim < 3 or extra > 1 or code not in TYPES:
        sys.exit(f"{path}: this example reads little-endian NIfTI-1 of three axes and real numbers")
    voxels = np.frombuffer(data, TYPES[code], np.prod(shape), int(start)).reshape(shape[::-1])
    return data[: int(start)], np.float32(voxels * slope + shift if slope else voxels), np.array([z, y, x])


def main(folder, target, *sources):
    """Write the label map in the first channel's geometry."""
    model = json.loads(Path(folder, "model.json").read_text())
    (header, *_), images, (spacing, *_) = zip(*map(read, sources), strict=True)
    if model["needs"] or len(images) != len(model["channels"]) or max(spacing) > 3 * min(spacing):
        sys.exit(f"this example takes {model['channels']} of a spacing up to 3:1; it cannot do {model['needs']}")
    (how,) = model["configurations"].values()
    before, after = (InferenceSession(Path(folder, how[key])).run for key in ("before", "after"))
    networks = [InferenceSession(Path(folder, member["file"])).run for member in model["members"]]
    turn, flips, patch = model["transpose_forward"], how["mirrorings"], np.array(how["patch_size"])
    image = np.stack([voxels.transpose(turn) for voxels in images])
    box = tuple(slice(at.min(), at.max() + 1) for at in np.nonzero(image.any(0) | ~image.any()))
    x, shape = before(None, {"image": image[:, *box], "spacing": spacing[turn]})
    counts = 1 + np.ceil((x.shape[1:] - patch) / (patch * model["step_size"])).astype(int)
    starts = [np.linspace(0, *ends).round().astype(int) for ends in zip(x.shape[1:] - patch, counts, strict=True)]
    weight = np.einsum("z,y,x->zyx", *how["window_weights"]).clip(6e-9)
    total, norm = np.zeros((len(model["heads"]), *x.shape[1:]), "f4"), np.zeros(x.shape[1:], "f4")
    for corner in itertools.product(*starts):
        part = (..., *map(slice, corner, corner + patch))
        runs = [np.flip(run(None, {"image": np.flip(x[None][part], f)})[0], f) for run in networks for f in flips]
        total[part] += weight * np.mean(runs, axis=0)[0]
        norm[part] += weight
    labels = np.zeros(image[0].shape, "u1")
    labels[box] = after(None, {"logits": total / norm, "shape": shape, "size": np.array(labels[box].shape)})[0]
    header = header[:70] + struct.pack("<2h", 2, 8) + header[74:112] + struct.pack("<2f", 1, 0) + header[120:]
    with (gzip.open if target.endswith(".gz") else open)(target, "wb") as file:
        file.write(header + labels.transpose(model["transpose_backward"]).tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
