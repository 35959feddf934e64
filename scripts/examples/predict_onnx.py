"""Segment a NIfTI with an exported model, onnxruntime and numpy only: predict_onnx.py MODEL_FOLDER IN.nii.gz OUT.nii.gz

For models of one channel and one configuration; says so where a model needs more than this example does.
"""

import gzip, itertools, json, struct, sys  # noqa: E401
from pathlib import Path
import numpy as np, onnxruntime  # noqa: E401, I001

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
SCALED = {
    "zscore": lambda x, s: (x - x.mean()) / max(x.std(), 1e-8),
    "ct": lambda x, s: (np.clip(x, s["percentile_00_5"], s["percentile_99_5"]) - s["mean"]) / max(s["std"], 1e-8),
    "nonorm": lambda x, s: x,
    "rescale_to_0_1": lambda x, s: (x - x.min()) / max(np.ptp(x), 1e-8),
    "rgb_to_0_1": lambda x, s: x / 255,
}


def operator(n, m, order):
    """Matrix (m, n) that resizes an axis of n samples to m: nearest, linear, or a cubic spline, edges continued."""
    at = (np.arange(m) + 0.5) * (n / m) - 0.5
    if order == 0:
        return np.eye(n)[np.clip(np.floor(at + 0.5).astype(int), 0, n - 1)]
    if order == 1:
        return np.maximum(0, 1 - abs(np.clip(at, 0, n - 1)[:, None] - np.arange(n)))
    system = (4 * np.eye(n + 24) + np.eye(n + 24, k=1) + np.eye(n + 24, k=-1)) / 6
    system[0, 1] = system[-1, -2] = 1 / 3
    far = abs(at[:, None] + 12 - np.arange(n + 24))
    basis = np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.maximum(0, 2 - far) ** 3 / 6)
    return basis @ np.linalg.solve(system, np.pad(np.eye(n), ((12, 12), (0, 0)), mode="edge"))


def resize(volume, shape, old, new, order, order_z):
    """Resize (d0, d1, d2); the coarse axis of a spacing beyond 3:1 apart from the others, with order_z."""
    coarse = next((list(s).index(max(s)) for s in (old, new) if max(s) / min(s) > 3 and list(s).count(max(s)) == 1), 3)
    rest, low, high = tuple(a for a in range(3) if a != coarse), volume, volume
    if volume.shape != shape:
        for axis in (*rest, *[coarse][: coarse < 3]):
            if axis == coarse:  # every plane keeps to its own range of values
                volume = np.clip(volume, low.min(rest, keepdims=True), high.max(rest, keepdims=True))
            matrix = operator(volume.shape[axis], shape[axis], order_z if axis == coarse else order)
            volume = np.moveaxis(np.tensordot(matrix, volume, (1, axis)), 0, axis)
        volume = volume if coarse < 3 else np.clip(volume, low.min(), high.max())
    return volume.astype(np.float32)
