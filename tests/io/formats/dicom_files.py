"""Writes DICOM files, tag by tag, so that tests decide what is there and what is not."""

import struct

import numpy as np

CT, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"
CONTOURS, DIRECTORY = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.1.3.10"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def element(tag, kind, value):
    """One data element: numbers joined by backslashes, padded to an even length."""
    if isinstance(value, tuple | list):
        value = "\\".join(str(v) for v in value)
    if kind == "US":
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode() + (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    group, number = int(tag[:4], 16), int(tag[4:], 16)
    if kind in ("OB", "OW"):
        return struct.pack("<HH2sHI", group, number, kind.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, kind.encode(), len(value)) + value


def file_bytes(sop_class, elements):
    meta = element("00020001", "OB", b"\0\1") + element("00020002", "UI", sop_class)
    meta += element("00020003", "UI", "1.2.3.4") + element("00020010", "UI", EXPLICIT_LITTLE_ENDIAN)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    return bytes(128) + b"DICM" + length + meta + b"".join(elements)


def write_slice(
    path,
    array,
    position=(0, 0, 0),
    series="1.2.826.111111111",
    description="axial",
    axes=(1, 0, 0, 0, 1, 0),
    pixel_spacing=(1, 1),
    thickness=1.0,
    slope=1,
    intercept=0,
    sop_class=CT,
):
    """Write `array` (Y, X), or (frames, Y, X), or (Y, X, 3) of uint8, as one file; None leaves a tag out."""
    color = array.dtype == np.uint8
    frames = len(array) if array.ndim == 3 and not color else None
    rows, columns = array.shape[:2] if color else array.shape[-2:]
    bits = 8 if color else 16
    values = [
        ("00080016", "UI", sop_class),
        ("00080018", "UI", f"1.2.826.{abs(hash(str(path))) % 10**9}"),
        ("00080060", "CS", "CT"),
        ("0008103E", "LO", description),
        ("00180050", "DS", thickness),
        ("0020000D", "UI", "1.2.826.5"),
        ("0020000E", "UI", series),
        ("00200032", "DS", position),
        ("00200037", "DS", axes),
        ("00280002", "US", 3 if color else 1),
        ("00280004", "CS", "RGB" if color else "MONOCHROME2"),
        ("00280006", "US", 0 if color else None),
        ("00280008", "IS", frames),
        ("00280010", "US", rows),
        ("00280011", "US", columns),
        ("00280030", "DS", pixel_spacing),
        ("00280100", "US", bits),
        ("00280101", "US", bits),
        ("00280102", "US", bits - 1),
        ("00280103", "US", 0 if color else 1),
        ("00281052", "DS", intercept),
        ("00281053", "DS", slope),
    ]
    elements = [
        element(tag, kind, str(value) if kind == "DS" and isinstance(value, int | float) else value)
        if kind != "IS"
        else element(tag, kind, str(value))
        for tag, kind, value in values
        if value is not None
    ]
    pixels = (array if color else array.astype("<i2")).tobytes()
    elements.append(element("7FE00010", "OW", pixels + b"\0" * (len(pixels) % 2)))
    path.write_bytes(file_bytes(sop_class, elements))
    return path
