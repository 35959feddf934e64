"""The spacing of TIFF volumes, which the format itself does not state.

Looked for in this order: nnU-Net's file beside the image, the OME description, ImageJ's. All in millimetres, in array
order (Z, Y, X).
"""

import json
import logging
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from segfw.core.errors import DataError
from segfw.core.support.files import write_text
from segfw.core.support.strict_json import load_strict_json
from segfw.core.types import Spacing
from segfw.io.formats.endings import ending_of

log = logging.getLogger(__name__)

_warned: set[Path] = set()

CHANNEL = re.compile(r"_\d{4}$")
MILLIMETERS = {
    "m": 1e3,
    "dm": 1e2,
    "cm": 10.0,
    "mm": 1.0,
    "millimeter": 1.0,
    "µm": 1e-3,  # micro sign
    "μm": 1e-3,  # Greek mu
    "um": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "micrometer": 1e-3,
    "nm": 1e-6,
    "nanometer": 1e-6,
    "pm": 1e-9,
    "Å": 1e-7,
    "in": 25.4,
    "inch": 25.4,
}


def sidecar(path: Path, channel: bool = False) -> Path:
    """Return the JSON file beside a TIFF file that nnU-Net keeps its spacing in: the same name, ending `.json`.

    `channel`: without the channel's number `_0000` too, as for images.
    """
    name = path.name[: -len(ending_of(path))]
    return path.with_name((CHANNEL.sub("", name) if channel else name) + ".json")


def spacing_beside(path: Path) -> Spacing | None:
    """Read the spacing from the JSON file beside a TIFF file, None where there is none that has the key `spacing`.

    The file's own name comes before that without a channel's number. `DataError` for a file that is no JSON and for
    a spacing that is not three positive numbers.
    """
    for beside in dict.fromkeys((sidecar(path), sidecar(path, channel=True))):
        if not beside.is_file():
            continue
        try:
            content = load_strict_json(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{beside}: states the spacing of {path.name}, but is no JSON: {error}") from error
        if not isinstance(content, dict) or "spacing" not in content:
            continue
        spacing = content["spacing"]
        numbers = isinstance(spacing, list) and all(type(v) in (int, float) for v in spacing)
        if not numbers or len(spacing) != 3 or not all(math.isfinite(v) and v > 0 for v in spacing):
            raise DataError(f"{beside}: spacing must be three positive numbers (Z, Y, X) in millimetres, got {spacing}")
        return tuple(float(v) for v in spacing)
    return None


def write_spacing_beside(path: Path, spacing: Spacing) -> None:
    """Write the JSON file beside a label map that `spacing_beside` reads."""
    write_text(sidecar(path), json.dumps({"spacing": list(spacing)}) + "\n")


def spacing_inside(tiff: tifffile.TiffFile) -> Spacing | None:
    """Return the spacing that a TIFF file's OME or ImageJ description states in full, with a unit of length."""
    if tiff.is_ome:
        return _ome_spacing(tiff.ome_metadata or "")
    if tiff.is_imagej:
        return _imagej_spacing(tiff)
    return None


def pixel_size(page: tifffile.TiffPage) -> Spacing:
    """Return the size (Y, X) of a page's pixels in millimetres, as ITK does: (1, 1) where no unit is stated."""
    unit = page.tags["ResolutionUnit"].value if "ResolutionUnit" in page.tags else 2
    length = {2: 25.4, 3: 10.0}.get(int(unit))
    sizes = []
    for tag in ("YResolution", "XResolution"):
        pixels, units = page.tags[tag].value if tag in page.tags else (0, 1)
        sizes.append(length * units / pixels if length and pixels and units else 1.0)
    return tuple(sizes)


def warn_of_missing_spacing(path: Path) -> None:
    """Log that a volume without spacing is taken to have 1 mm; once per folder and process, not for each file."""
    if path.parent in _warned:
        return
    _warned.add(path.parent)
    log.warning(
        "%s: no spacing is stated, 1 mm is taken along each axis, for this and other such TIFF volumes of the folder; "
        'state it in %s, as {"spacing": [Z, Y, X]} in millimetres',
        path,
        sidecar(path).name,
    )


def _ome_spacing(description: str) -> Spacing | None:
    try:
        pixels = ElementTree.fromstring(description).find(".//{*}Pixels")
    except ElementTree.ParseError:
        return None
    if pixels is None:
        return None
    sizes = [
        _millimeters(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"
    ]
    return tuple(size for size in sizes if size is not None) if None not in sizes else None


def _imagej_spacing(tiff: tifffile.TiffFile) -> Spacing | None:
    """Return ImageJ's spacing: its own for Z, pixels per unit in the resolution tags for Y and X."""
    stated = tiff.imagej_metadata or {}
    unit = str(stated.get("unit", "")).replace("\\u00B5", "µ")
    sizes = [_millimeters(stated.get("spacing"), unit)]
    for tag in ("YResolution", "XResolution"):
        pixels, units = tiff.pages.first.tags[tag].value if tag in tiff.pages.first.tags else (0, 1)
        sizes.append(_millimeters(units / pixels if pixels else None, unit))
    return tuple(size for size in sizes if size is not None) if None not in sizes else None


def _millimeters(value: str | float | None, unit: str) -> float | None:
    """Return a length in millimetres, None where it is no positive number or the unit is none of length."""
    try:
        length = float(value) if value is not None else 0.0
    except (TypeError, ValueError):
        return None
    if unit not in MILLIMETERS or not math.isfinite(length) or length <= 0:
        return None
    return length * MILLIMETERS[unit]
