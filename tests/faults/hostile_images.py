"""Image files as nobody should meet them: valid small ones with a header field, a tag, a chunk or any byte changed.

`IMAGES` maps a format to the strategy of its files. Each begins with a file that reads, so that most of what is drawn
gets past the first check of a reader and dies, if it does, in the depth of it.
"""

import gzip
import struct
import tempfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile
from hypothesis import strategies as st

from tests.io.formats.dicom_files import write_slice

SHAPE = (5, 6, 7)
INTEGERS = (0, 1, -1, 2, 3, 7, 8, 16, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, -(2**63))
NUMBERS = (0.0, -1.0, 1e-300, 1e-30, 1e30, 3e38, float("nan"), float("inf"), float("-inf"), 0.5, 1e9)
WORDS = (
    *("", "0", "-1", "nan", "inf", "1e400", "none", "4294967296", "99999999999999999999", "1 1", "7 6 5 4 3 2 1"),
    *("100000 100000 100000", "0 6 5", "-7 6 5", "(nan,0,0) (0,1,0) (0,0,1)", "(0,0,0) (0,0,0) (0,0,0)", "\xff\xfe"),
    *("float", "double", "uint64", "block", "raw", "gzip", "bzip2", "ascii", "hex", "MET_FLOAT", "True", "LIST"),
    *("LOCAL", "LOCAL 9", "../../../../etc/hostname", "/dev/zero", "/dev/stdin", "%d 1 999999999 1", "a" * 5000),
)


@dataclass(frozen=True)
class Hostile:
    """A file to read, `target`, what must lie beside it (name -> content), and `how` it was damaged."""

    target: str
    files: dict[str, bytes]
    how: str

    def write(self, folder: Path) -> Path:
        """Write the files into a folder that is there, and return the path to read."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.target


@cache
def valid(ending: str, kind: str = "<u2", packed: bool = False) -> dict[str, bytes]:
    """Return a whole file of the format, of 2 axes if its format has no more; several for a header with voxels."""
    voxels = np.random.default_rng(0).integers(0, 200, SHAPE).astype(kind)
    natural = ending in (".png", ".jpg", ".bmp")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        if ending == ".tif":
            compression = "zlib" if packed else None
            tifffile.imwrite(path, voxels, metadata={"axes": "ZYX"}, compression=compression, imagej=kind == "<f4")
        elif ending == ".dcm":
            write_slice(path, voxels[0])
        else:
            sitk.WriteImage(sitk.GetImageFromArray(voxels[0] if natural else voxels), str(path), useCompression=packed)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Change bytes with no regard to what they mean: flip, cut, drop, repeat or append some."""
    content = bytearray(content)
    place = st.integers(0, max(0, len(content) - 1))
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["flip", "flip", "number", "cut", "drop", "repeat", "append"]))
        at = min(draw(place), max(0, len(content) - 1))
        if how == "flip" and content:
            content[at] ^= draw(st.integers(1, 255))
        elif how == "number":
            form = draw(st.sampled_from(["<h", ">h", "<i", ">i", "<q", ">q", "<f", ">f", "<d", ">d"]))
            packed = pack(form, draw(st.sampled_from(NUMBERS if form[1] in "fd" else INTEGERS)))
            content[at : at + len(packed)] = packed
        elif how == "cut":
            del content[at:]
        elif how == "drop":
            del content[at : at + draw(st.integers(1, 64))]
        elif how == "repeat":
            content[at:at] = content[at : at + 64] * draw(st.integers(1, 20))
        elif how == "append":
            content += draw(st.sampled_from([b"\0" * 100, b"garbage", b"\xff" * 5000, gzip.compress(bytes(10**6))]))
    return bytes(content)


def pack(form: str, value: float) -> bytes:
    """Pack a number as `form`, an integer that does not fit by its lowest bits."""
    size = struct.calcsize(form)
    if form[-1] in "fd":
        return struct.pack(form, value if form[-1] == "d" or abs(value) < 3e38 or value != value else 3e38)
    order = "little" if form[0] == "<" else "big"
    return (int(value) % 2 ** (8 * size)).to_bytes(size, order)


def of_bytes(endings: list[str]) -> st.SearchStrategy[Hostile]:
    """Files of these formats with any bytes changed, in the header or anywhere."""

    @st.composite
    def one(draw: st.DrawFn) -> Hostile:
        ending = draw(st.sampled_from(endings))
        kinds = ["|u1"] if ending in (".png", ".jpg", ".bmp") else ["|u1", "<u2", "<f4"]
        files = dict(valid(ending, "<i2" if ending == ".dcm" else draw(st.sampled_from(kinds)), draw(st.booleans())))
        name = draw(st.sampled_from(sorted(files)))
        is_packed = files[name].startswith(b"\x1f\x8b") and draw(st.booleans())  # damage what lies inside
        content = gzip.decompress(files[name]) if is_packed else files[name]
        head = draw(st.sampled_from([64, 400, len(content)]))
        content = draw(damaged(content[:head])) + content[head:]
        files[name] = gzip.compress(content, mtime=0) if is_packed else content
        return Hostile(draw(st.sampled_from(sorted(files))), files, f"bytes of {name}")

    return one()


NIFTI1 = {
    "sizeof_hdr": (0, "i", 1), "dim": (40, "h", 8), "intent_code": (68, "h", 1), "datatype": (70, "h", 1),
    "bitpix": (72, "h", 1), "pixdim": (76, "f", 8), "vox_offset": (108, "f", 1), "scl": (112, "f", 2),
    "units": (123, "b", 1), "forms": (252, "h", 2), "quatern": (256, "f", 6), "srow": (280, "f", 12),
    "magic": (344, "b", 4), "extension": (348, "b", 4),
}  # fmt: skip
NIFTI2 = {
    "sizeof_hdr": (0, "i", 1), "magic": (4, "b", 8), "datatype": (12, "h", 1), "bitpix": (14, "h", 1),
    "dim": (16, "q", 8), "pixdim": (104, "d", 8), "vox_offset": (168, "q", 1), "scl": (176, "d", 2),
    "forms": (344, "i", 2), "quatern": (352, "d", 6), "srow": (400, "d", 12), "intent": (504, "i", 1),
}  # fmt: skip


@cache
def nifti2() -> bytes:
    """Return the valid NIfTI-1 file with a header of version 2, of the same fields."""
    old, new = valid(".nii", "<i2")["a.nii"], bytearray(544)
    for name, form in (("dim", "q"), ("datatype", "h"), ("bitpix", "h"), ("pixdim", "d"), ("scl", "d"), ("srow", "d")):
        at, before, count = NIFTI1[name]
        struct.pack_into(f"<{count}{form}", new, NIFTI2[name][0], *struct.unpack_from(f"<{count}{before}", old, at))
    struct.pack_into("<i8s", new, 0, 540, b"n+2\0\r\n\x1a\n")
    struct.pack_into("<q", new, NIFTI2["vox_offset"][0], 544)
    struct.pack_into("<2i", new, NIFTI2["forms"][0], 0, 1)
    return bytes(new) + old[352:]


@st.composite
def nifti(draw: st.DrawFn) -> Hostile:
    """NIfTI files, alone, packed or in two, with one to three fields of the header set to hostile numbers."""
    second = draw(st.booleans())
    name = draw(st.sampled_from(["a.nii", "a.nii.gz", "a.nii.gz", "a.hdr"]))
    if second:
        name, files = name.replace(".hdr", ".nii"), {"a.nii": nifti2()}
    else:
        kind = draw(st.sampled_from(["|u1", "<i2", "<f4", "<f8"]))
        files = dict(valid(".hdr" if name == "a.hdr" else ".nii", kind))
    source = "a.hdr" if name == "a.hdr" else "a.nii"
    head, fields, changed = bytearray(files.pop(source)), NIFTI2 if second else NIFTI1, []
    for _ in range(draw(st.integers(1, 3))):
        field = draw(st.sampled_from(sorted(fields)))
        at, form, count = fields[field]
        number = at + struct.calcsize(form) * draw(st.integers(0, count - 1))
        value = draw(st.sampled_from(NUMBERS if form in "fd" else (*INTEGERS, 64, 1006, 1792, 2304)))
        packed = pack(f"<{form}", value)
        head[number : number + len(packed)] = packed
        changed.append(f"{field}={value}")
    content = gzip.compress(bytes(head), mtime=0) if name.endswith(".gz") else bytes(head)
    return Hostile(name, {**files, name: content}, f"NIfTI-{1 + second} {' '.join(changed)}")


@st.composite
def text_header(draw: st.DrawFn, endings: tuple[str, ...], separator: bytes, lines: tuple[str, ...]) -> Hostile:
    """Files whose header is text: lines dropped, doubled, given another value, or others added."""
    ending, packed = draw(st.sampled_from(endings)), draw(st.booleans())
    files = dict(valid(ending, draw(st.sampled_from(["|u1", "<i2", "<f4"])), packed))
    name = f"a{ending}"
    end = files[name].find({b":": b"\n\n", b"=": b"ElementDataFile"}.get(separator, b"LOOKUP_TABLE"))
    end = len(files[name]) if end < 0 else files[name].find(b"\n", end + 1) + 1 or len(files[name])
    head, rest = files[name][:end].split(b"\n"), files[name][end:]
    changed = []
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(head) - 1))
        how = draw(st.sampled_from(["value", "value", "value", "drop", "double", "add"]))
        word = draw(st.sampled_from(WORDS)).encode("latin-1")
        key = head[at].partition(separator)[0]
        if how == "value":
            head[at] = key + separator + b" " + word
        elif how == "drop" and len(head) > 1:
            del head[at]
        elif how == "double":
            head.insert(at, head[at])
        else:
            key = draw(st.sampled_from(lines)).encode()
            head.insert(min(at + 1, len(head) - 1), key + separator + b" " + word)
        changed.append(f"{how} {key[:30]!r} {word[:30]!r}")
    files[name] = b"\n".join(head) + rest
    return Hostile(name, files, "; ".join(changed))


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@st.composite
def png(draw: st.DrawFn) -> Hostile:
    """PNG files with a header, pixels and further chunks that do not fit together; all checksums are right."""
    edge = st.sampled_from([0, 1, 7, 65535, 10**6, 2**31 - 1, 2**32 - 1])
    width, height = draw(edge), draw(edge)
    bits, kind = draw(st.sampled_from([0, 1, 2, 4, 8, 16, 17, 255])), draw(st.sampled_from([0, 2, 3, 4, 6, 7]))
    pixels = zlib.compress(draw(st.sampled_from([b"", bytes(8 * 7), bytes(10**6)])))
    further = draw(
        st.lists(st.sampled_from([b"PLTE", b"iCCP", b"zTXt", b"iTXt", b"tRNS", b"IDAT", b"eXIf"]), max_size=4)
    )
    bomb = b"a\0\0" + zlib.compress(bytes(10**7))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    content += b"".join(chunk(name, draw(st.sampled_from([b"", b"\0\1\2", bytes(768), bomb]))) for name in further)
    content += chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return Hostile("a.png", {"a.png": content}, f"PNG {width} x {height}, {bits} bits of kind {kind}, {further}")


@st.composite
def tiff(draw: st.DrawFn) -> Hostile:
    """TIFF stacks with one to three entries of their directories changed: tag, type, count or value."""
    content = bytearray(valid(".tif", draw(st.sampled_from(["|u1", "<u2", "<f4"])), draw(st.booleans()))["a.tif"])
    directories, place = [], struct.unpack_from("<I", content, 4)[0]
    while place and len(directories) < SHAPE[0]:
        count = struct.unpack_from("<H", content, place)[0]
        directories.append((place, count))
        place = struct.unpack_from("<I", content, place + 2 + 12 * count)[0]
    changed = []
    for _ in range(draw(st.integers(1, 3))):
        start, count = draw(st.sampled_from(directories))
        entry = start + 2 + 12 * draw(st.integers(0, count - 1))
        field, form, value = draw(
            st.one_of(
                st.tuples(
                    st.just(0), st.just("<H"), st.sampled_from([256, 257, 258, 259, 262, 273, 277, 279, 322, 339])
                ),
                st.tuples(st.just(2), st.just("<H"), st.sampled_from([0, 1, 2, 3, 4, 5, 12, 13, 16, 99])),
                st.tuples(st.just(4), st.just("<I"), st.sampled_from(INTEGERS)),
                st.tuples(st.just(8), st.just("<I"), st.sampled_from((*INTEGERS, 5, 32773, 34712, 50000))),
            )
        )
        tag = struct.unpack_from("<H", content, entry)[0]
        content[entry + field : entry + field + struct.calcsize(form)] = pack(form, value)
        changed.append(f"tag {tag} byte {field}={value}")
    return Hostile("a.tif", {"a.tif": bytes(content)}, "; ".join(changed))


@st.composite
def dicom(draw: st.DrawFn) -> Hostile:
    """A DICOM file, or a series of three of which one has a hostile value in an element of text or number."""
    numbers = st.sampled_from(["", "0", "-1", "nan", "inf", "1e400", "1e30", "x", "1\\1\\1\\1\\1\\1\\1", "9" * 16])
    damage = draw(
        st.dictionaries(
            st.sampled_from(["position", "axes", "pixel_spacing", "thickness", "slope", "intercept", "series"]),
            st.one_of(numbers, st.tuples(numbers, numbers), st.tuples(numbers, numbers, numbers), st.none()),
            min_size=1,
            max_size=3,
        )
    )
    single = draw(st.booleans())
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 if single else 3):
            path, values = Path(folder) / f"{number}.dcm", {"position": (0, 0, number)}
            write_slice(path, np.full(SHAPE[1:], number, np.int16), **(values if number else {**values, **damage}))
            files[path.name if single else f"series/{path.name}"] = path.read_bytes()
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(files)))
        content, value = files[name], pack("<H", draw(st.sampled_from(INTEGERS)))
        tag = draw(st.sampled_from([b"\x10\0", b"\x11\0", b"\0\1", b"\1\1", b"\2\1", b"\3\1", b"\2\0", b"\x08\0"]))
        at = content.find(b"\x28\0" + tag)
        files[name] = content[: at + 8] + value + content[at + 10 :] if at > 0 else content
        damage[f"0028,{tag.hex()}"] = value.hex()
    return Hostile("0.dcm" if single else "series", files, f"DICOM {damage}")


NRRD_LINES = ("sizes", "dimension", "type", "encoding", "endian", "space", "space directions", "data file", "line skip",
              "byte skip", "kinds", "spacings", "block size", "space origin", "space dimension")  # fmt: skip
META_LINES = ("NDims", "DimSize", "ElementType", "ElementSpacing", "TransformMatrix", "Offset", "CompressedData",
              "AnatomicalOrientation", "CompressedDataSize", "HeaderSize", "ElementNumberOfChannels", "BinaryData",
              "ElementDataFile")  # fmt: skip
VTK_LINES = ("DIMENSIONS", "SPACING", "ORIGIN", "POINT_DATA", "SCALARS", "DATASET", "BINARY", "ASCII")

IMAGES: dict[str, st.SearchStrategy[Hostile]] = {
    "nifti": st.one_of(nifti(), nifti(), of_bytes([".nii", ".nii.gz", ".hdr"])),
    "nrrd": st.one_of(text_header((".nrrd", ".nhdr"), b":", NRRD_LINES), of_bytes([".nrrd", ".nhdr"])),
    "metaimage": st.one_of(text_header((".mha", ".mhd"), b"=", META_LINES), of_bytes([".mha", ".mhd"])),
    "vtk": st.one_of(text_header((".vtk",), b" ", VTK_LINES), of_bytes([".vtk"])),
    "gipl": of_bytes([".gipl", ".gipl.gz"]),
    "mrc": of_bytes([".mrc"]),
    "minc": of_bytes([".mnc"]),
    "png": st.one_of(png(), of_bytes([".png"])),
    "jpeg": of_bytes([".jpg"]),
    "bmp": of_bytes([".bmp"]),
    "tiff": st.one_of(tiff(), of_bytes([".tif"])),
    "dicom": st.one_of(dicom(), of_bytes([".dcm"])),
}
