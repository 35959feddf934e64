"""Cases held in a device's memory, and patches cut there: the host draws, and nothing waits for the device.

What is cut equals what `segfw.data.cutting` cuts from files.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segfw.core.types import FloatArray, IntArray, Shape
from segfw.data.cutting import BEFORE, Cases, central_step, padded_box
from segfw.data.drawing import PatchDraws, PatchSpec
from segfw.data.spatial import OUTSIDE, turn


@dataclass(frozen=True, eq=False)
class DeviceStore:
    """All voxels of some cases one after the other: `image` (C, N) float32, `label` (L, N) as small as it was stored.

    `offsets`: case -> where its voxels begin; `shapes`: case -> its three axes.
    """

    image: Tensor
    label: Tensor
    offsets: dict[str, int]
    shapes: dict[str, Shape]

    def cut(self, draws: PatchDraws, spec: PatchSpec) -> tuple[Tensor, Tensor]:
        """Return the patches of a batch on this device: image (B, C, *F) float32 and label (B, L, *F) int16."""
        count = len(draws.cases)
        image = self.image.new_empty(count, len(self.image), *spec.box_size)
        label = self.label.new_empty(count, len(self.label), *spec.box_size, dtype=torch.int16)
        self._fill(image, label, draws.plain, self._gather(draws, draws.plain, central_step(spec), spec.box_size))
        if draws.spatial is not None and len(draws.turned):
            sizes = (spec.box_size, spec.loader_box)
            boxes = self._loader_boxes(draws, spec, draws.spatial.matrices)
            self._fill(
                image, label, draws.turned, turn(*boxes, self._send(draws.spatial.matrices.astype(np.float32)), sizes)
            )
        return (image.squeeze(2), label.squeeze(2)) if len(spec.patch_size) == 2 else (image, label)

    def _loader_boxes(self, draws: PatchDraws, spec: PatchSpec, matrices: FloatArray) -> tuple[Tensor, Tensor]:
        """Gather loader patches as `turn` takes them: nothing is seen beyond them."""
        rigid = 3 - matrices.shape[-1]
        before = np.array([0] * rigid + [BEFORE] * (3 - rigid))
        window = [(0, n) if axis < rigid else (BEFORE, BEFORE + n) for axis, n in enumerate(spec.loader_box)]
        return self._gather(draws, draws.turned, -before, padded_box(spec, rigid), window)

    def _gather(
        self,
        draws: PatchDraws,
        rows: IntArray,
        step: IntArray,
        size: Shape,
        window: list[tuple[int, int]] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read a box for each of `rows` that begins `step` after its start: (C, R, *size); outside `window` nothing."""
        names = [draws.cases[row] for row in rows]
        begins = draws.starts[rows] + step
        cases = np.array([(*self.shapes[name], self.offsets[name]) for name in names], np.int64).reshape(-1, 4)
        numbers = self._send(np.concatenate([begins, cases], axis=1))
        index = numbers[:, 6].reshape(-1, 1, 1, 1)
        inside = torch.ones_like(index, dtype=torch.bool)
        for axis, n in enumerate(size):
            here = torch.arange(n, device=self.image.device)
            at, extent = here + numbers[:, axis, None], numbers[:, 3 + axis, None]
            seen = (at >= 0) & (at < extent)
            if window is not None:
                seen &= (here >= window[axis][0]) & (here < window[axis][1])
            line = (len(rows), *(n if other == axis else 1 for other in range(3)))
            inside = inside & seen.reshape(line)
            steps = numbers[:, 4 + axis : 6].prod(1).reshape(-1, 1, 1, 1)
            index = index + at.reshape(line) * steps
        index = torch.where(inside, index, 0).reshape(-1)
        image = self.image.index_select(1, index).reshape(len(self.image), *inside.shape)
        label = self.label.index_select(1, index).reshape(len(self.label), *inside.shape)
        return image.masked_fill_(~inside, 0), label.masked_fill_(~inside, OUTSIDE)

    def _fill(self, image: Tensor, label: Tensor, rows: IntArray, parts: tuple[Tensor, Tensor]) -> None:
        to = self._send(rows)
        image.index_copy_(0, to, parts[0].transpose(0, 1))
        label.index_copy_(0, to, parts[1].transpose(0, 1).to(torch.int16))

    def _send(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.image.device, non_blocking=True)


def load_on_device(store: Cases, cases: Iterable[str], device: torch.device) -> DeviceStore:
    """Copy cases to `device`, one after the other; values are kept as they are stored, so samples are the same."""
    names = list(dict.fromkeys(cases))
    shapes = {name: tuple(store.image(name).shape[1:]) for name in names}
    sizes = [math.prod(shape) for shape in shapes.values()]
    offsets = dict(zip(names, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    kind = np.result_type(*{np.dtype(store.label(name).dtype) for name in names})
    channels, maps = store.image(names[0]).shape[0], store.label(names[0]).shape[0]
    image = torch.empty(channels, sum(sizes), dtype=torch.float32, device=device)
    label = torch.empty(maps, sum(sizes), dtype=torch.from_numpy(np.zeros(0, kind)).dtype, device=device)
    for name, size in zip(names, sizes, strict=True):
        part = slice(offsets[name], offsets[name] + size)
        image[:, part] = torch.from_numpy(np.array(store.image(name)).reshape(channels, -1)).to(device)
        label[:, part] = torch.from_numpy(np.array(store.label(name), kind).reshape(maps, -1)).to(device)
    return DeviceStore(image, label, offsets, shapes)
