"""The pictures of a case for the page's viewer: slices as WebP, label maps as compressed bytes, both as base64.

What a case may weigh is given: the pictures get smaller and fewer until they fit.
"""

import base64
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segfw.core.imaging.slices import Bytes, Frame, View, frame_around, to_bytes
from segfw.core.types import FloatArray, IntArray, Spacing


@dataclass(frozen=True)
class Size:
    """How large the pictures are at most: pixels along an edge, slices, and WebP's quality (0 to 100)."""

    edge: int
    slices: int
    quality: int


SIZES = (
    Size(384, 64, 80),
    Size(384, 48, 70),
    Size(320, 40, 65),
    Size(256, 40, 60),
    Size(224, 32, 55),
    Size(160, 24, 50),
    Size(96, 16, 45),
    Size(64, 8, 40),
)
"""From the largest to one that fits whatever the images are: 8 slices of 64 x 64 pixels."""
MOST_CHANNELS = 4


@dataclass(frozen=True)
class Channel:
    """What is shown of the image: one channel in grey between two intensities, or three as colors.

    `indices`: channels of the image's array; `low`, `high`: what is black and what is white.
    """

    name: str
    indices: tuple[int, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Pictures:
    """Slices of one case as the page holds them.

    `slices`: which of the volume's `num_slices` (from 0); `width`, `height`: pixels; `aspect`: height of a pixel by its
    width, in millimetres; `ends`: see `View`; `channels`: name -> a data URI per slice; `reference`, `prediction`:
    base64 of compressed label maps, `(slices, height, width)`, `bytes_per_pixel` each, the low byte first; `voxel_mm3`:
    of the volume.
    """

    slices: tuple[int, ...]
    num_slices: int
    width: int
    height: int
    aspect: float
    ends: tuple[str, ...]
    channels: dict[str, tuple[str, ...]]
    reference: str
    prediction: str
    bytes_per_pixel: int
    voxel_mm3: float

    @property
    def num_bytes(self) -> int:
        """What the pictures add to the page, but for a few numbers."""
        images = sum(len(uri) for uris in self.channels.values() for uri in uris)
        return images + len(self.reference) + len(self.prediction)


@dataclass(frozen=True, eq=False)
class CaseMaps:
    """A case before it is drawn: image `(C, Z, Y, X)`, label maps `(Z, Y, X)`, spacing in millimetres.

    `background`: what neither map marks, 0 and where not annotated; the pictures lie around everything else.
    """

    image: FloatArray
    reference: IntArray
    prediction: IntArray
    spacing: Spacing
    background: tuple[int, ...] = (0,)


def make_pictures(case: CaseMaps, channels: Sequence[Channel], view: View, most_bytes: int) -> Pictures:
    """Return the largest pictures that weigh `most_bytes` at most; the smallest there are where none does."""
    maps = [np.asarray(view.turned(each)) for each in (case.reference, case.prediction)]
    foreground = np.logical_or(*(~np.isin(each, case.background) for each in maps))
    spacing = view.spacing(case.spacing)
    for size in SIZES:
        frame = frame_around(foreground, spacing, size.slices, size.edge)
        pictures = _drawn(case, maps, channels, view, frame, size.quality)
        if pictures.num_bytes <= most_bytes:
            break
    return pictures


def pack(labels: IntArray, bytes_per_pixel: int) -> str:
    """Return a label map as text; `unpack` gives it back exactly."""
    values = np.ascontiguousarray(labels).astype(f"<u{bytes_per_pixel}")
    return base64.b64encode(zlib.compress(values.tobytes(), 6)).decode("ascii")


def unpack(text: str, shape: tuple[int, ...], bytes_per_pixel: int) -> NDArray[np.unsignedinteger]:
    """Return the label map that `pack` made a text of."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(text)), f"<u{bytes_per_pixel}")
    return values.reshape(shape)


def to_webp(pixels: Bytes, quality: int) -> str:
    """Return a picture `(height, width)` or `(height, width, 3)` as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _drawn(
    case: CaseMaps, maps: Sequence[IntArray], channels: Sequence[Channel], view: View, frame: Frame, quality: int
) -> Pictures:
    reference, prediction = (frame.labels(each) for each in maps)
    bytes_per_pixel = 1 if max(reference.max(initial=0), prediction.max(initial=0)) < 256 else 2
    spacing, images = view.spacing(case.spacing), {}
    for channel in channels[:MOST_CHANNELS]:
        turned = [frame.image(np.asarray(view.turned(case.image[index]))) for index in channel.indices]
        pixels = np.stack([to_bytes(each, channel.low, channel.high) for each in turned], axis=-1)
        images[channel.name] = tuple(to_webp(each[..., 0] if each.shape[-1] == 1 else each, quality) for each in pixels)
    return Pictures(
        slices=frame.slices,
        num_slices=maps[0].shape[0],
        width=reference.shape[2],
        height=reference.shape[1],
        aspect=(spacing[1] * frame.steps[0]) / (spacing[2] * frame.steps[1]),
        ends=view.ends,
        channels=images,
        reference=pack(np.maximum(reference, 0), bytes_per_pixel),
        prediction=pack(np.maximum(prediction, 0), bytes_per_pixel),
        bytes_per_pixel=bytes_per_pixel,
        voxel_mm3=math.prod(spacing),
    )
