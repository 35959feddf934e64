"""Which format the store should have: patches of preprocessed cases read from each, warm, one thread.

python scripts/benchmarks/store.py [--quick] [--results FOLDER]

large: patches of 128 x 128 x 128 from one float32 volume of 300 x 512 x 512; small: 40 x 56 x 40 from 60 volumes of
that size and a little more; and from label maps of the same shapes. npy is memory-mapped as the store does it; blosc2
and zarr are measured where they can be imported, for which any Python with numpy, scipy and PyTorch will do
(`PYTHONPATH=. PYTHON scripts/benchmarks/store.py`). Every format yields the patch as a contiguous array, images as
float32. The last line is one JSON object of ratios to npy (float32, int8), smaller is better: `cpu_seconds_...`
(processor seconds, which other work on the machine disturbs less) and `bytes_...`; and the milliseconds that a patch of
npy takes, `milliseconds_..._npy_ours`.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from common import Turns, Usage, machine, ratio, tell, timed, versions
from numpy.typing import NDArray

from segfw.core.imaging.resampling import resample_channel
from segfw.core.plan import Resampling
from segfw.data.store import map_array

Array = NDArray[Any]
BASE = "npy"
LARGE_SHAPE, QUICK_SHAPE, LARGE_PATCH, LARGE_READS = (300, 512, 512), (150, 256, 256), (128, 128, 128), 12
SMALL_CASES, SMALL_PATCH, SMALL_READS = 60, (40, 56, 40), 300
BLOCK_EDGE = 16  # voxels; 32 and 64 were slower, so were files that are read instead of mapped


@dataclass(frozen=True)
class Format:
    """How arrays are written to a path, given the patch that will be read, and opened again for slicing."""

    write: Callable[[Array, Path, tuple[int, ...]], object]
    open: Callable[[Path], Any]


@dataclass(frozen=True)
class Work:
    """Arrays of one kind and the patches that are read from them: number of the array, first voxel."""

    arrays: Sequence[Array]
    patch: tuple[int, ...]
    places: Sequence[tuple[int, tuple[int, ...]]]


def write_npy(array: Array, path: Path, patch: tuple[int, ...], dtype: str | None = None) -> None:
    """Write plain npy."""
    with path.open("wb") as file:
        np.save(file, array if dtype is None else array.astype(dtype))


def write_blosc2(array: Array, path: Path, patch: tuple[int, ...], codec: str) -> None:
    """Write with chunks of the patch and small cubes in them; of arrays hardly larger than a patch blosc2 decides."""
    blosc2 = import_module("blosc2")
    blosc2.set_nthreads(1)
    parameters = {"codec": getattr(blosc2.Codec, codec), "clevel": 5, "nthreads": 1}
    parts = {}
    if array.size > 2 * math.prod(patch):
        parts = {"chunks": patch, "blocks": (BLOCK_EDGE,) * array.ndim}
    blosc2.asarray(array, urlpath=str(path), mode="w", cparams=parameters, **parts)


def write_zarr(array: Array, path: Path, patch: tuple[int, ...]) -> None:
    """Write with zarr's own compression (zarr 3)."""
    chunks = tuple(min(n, size) for n, size in zip(array.shape, patch, strict=True))
    import_module("zarr").create_array(str(path), data=array, chunks=chunks)


def formats(image: bool) -> dict[str, Format]:
    """Return the formats that can be measured here, the first being the one that others are compared with."""
    found = {BASE: Format(write_npy, map_array)}
    if image:
        found["npy_float16"] = Format(partial(write_npy, dtype="float16"), map_array)
    if _importable("blosc2"):
        for codec in ("LZ4", "ZSTD"):
            found[f"blosc2_{codec.lower()}"] = Format(partial(write_blosc2, codec=codec), _open_blosc2)
    if _importable("zarr"):
        found["zarr"] = Format(write_zarr, lambda path: import_module("zarr").open_array(str(path), mode="r"))
    return found


def _open_blosc2(path: Path) -> Any:
    return import_module("blosc2").open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})


def _importable(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def make_case(shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
    """Return a normalized image, resampled as preprocessing does, and a label map of ellipsoids in it."""
    generator = np.random.default_rng(seed)
    coarse = tuple(max(4, round(n * 0.8)) for n in shape)
    grid = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in coarse), indexing="ij", sparse=True)
    image = np.where(sum(x**2 for x in grid) < 1.5, 0.3 * generator.standard_normal(coarse, np.float32), -1.7)
    spacings = tuple(1.0 for _ in shape), tuple(old / new for old, new in zip(coarse, shape, strict=True))
    image = resample_channel(np.ascontiguousarray(image, np.float32), shape, *spacings, Resampling())
    grid = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    label = np.zeros(shape, np.int8)
    for value in range(1, 9):
        center, radii = generator.uniform(-0.5, 0.5, 3), generator.uniform(0.1, 0.3, 3)
        label[sum(((x - c) / r) ** 2 for x, c, r in zip(grid, center, radii, strict=True)) < 1] = value
    return image, label


def make_works(quick: bool) -> dict[str, Work]:
    """Make arrays and draw the patches."""
    generator = np.random.default_rng(0)
    large = [QUICK_SHAPE if quick else LARGE_SHAPE]
    small = [tuple(map(int, np.array(SMALL_PATCH) + generator.integers(0, 9, 3))) for _ in range(SMALL_CASES)]
    works = {}
    for name, shapes, patch, count in (
        ("large", large, LARGE_PATCH, LARGE_READS),
        ("small", small, SMALL_PATCH, SMALL_READS),
    ):
        places = []
        for number in range(count):
            shape = shapes[number % len(shapes)]
            start = (int(generator.integers(0, n - size + 1)) for n, size in zip(shape, patch, strict=True))
            places.append((number % len(shapes), tuple(start)))
        images, labels = zip(*(make_case(shape, seed) for seed, shape in enumerate(shapes)), strict=True)
        works[f"{name}_image"] = Work(images, patch, places)
        works[f"{name}_label"] = Work(labels, patch, places)
    return works


def read_patches(work: Work, opened: Sequence[Any], dtype: Any) -> None:
    """Read every patch of the work once."""
    for number, start in work.places:
        index = tuple(slice(a, a + n) for a, n in zip(start, work.patch, strict=True))
        np.array(opened[number][index], dtype, order="C")


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def measure(work: Work, folder: Path, repeats: int) -> tuple[dict[str, list[Usage]], dict[str, int]]:
    """Write the work in every format, read its patches in turn; return the runs and the bytes of each format."""
    dtype = work.arrays[0].dtype
    runs: dict[str, list[Usage]] = {}
    sizes, readers = {}, {}
    for name, each in formats(dtype == np.float32).items():
        paths = [folder / f"{name}_{number}" for number in range(len(work.arrays))]
        for array, path in zip(work.arrays, paths, strict=True):
            each.write(array, path, work.patch)
        opened = [each.open(path) for path in paths]
        if name != "npy_float16" and not np.array_equal(np.asarray(opened[0][:]), work.arrays[0]):
            raise RuntimeError(f"{name} does not give back what was written")
        readers[name] = timed(partial(read_patches, work, opened, dtype))
        readers[name]()  # fills the cache
        runs[name], sizes[name] = [], sum(map(size_of, paths))
    for number in range(repeats):
        for name in sorted(readers, reverse=bool(number % 2)):
            runs[name].append(readers[name]())
    return runs, sizes


def main() -> None:
    """Measure every kind of array and tell the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller volume and fewer repeats")
    parser.add_argument("--results", type=Path, help="folder to write what was measured into, as JSON")
    options = parser.parse_args()
    about = {"machine": machine(), "versions": versions("segfw", "numpy", "torch", "blosc2", "zarr")}
    outcome: dict[str, float] = {}
    works: dict[str, list[Turns]] = {}
    for kind, work in make_works(options.quick).items():
        with tempfile.TemporaryDirectory(prefix="segfw-benchmark-") as folder:
            runs, sizes = measure(work, Path(folder), 3 if options.quick else 5)
        outcome |= compare(kind, work, runs, sizes, works)
    tell("store", outcome, works, about, options.results)


def compare(
    kind: str, work: Work, runs: Mapping[str, list[Usage]], sizes: Mapping[str, int], works: dict[str, list[Turns]]
) -> dict[str, float]:
    """Print a table of one kind of array, note the runs in `works`, and return the ratios to the first format."""
    voxels = math.prod(work.patch)
    print(f"{kind}: patches of {'x'.join(map(str, work.patch))} from {len(work.arrays)} of {work.arrays[0].dtype}")
    outcome = {}
    for name, usages in runs.items():
        turns = [Turns(tuple(usages), tuple(runs[BASE]))]
        milliseconds = 1e3 * turns[0].least("ours", "cpu") / len(work.places)
        works[f"{kind}_{name}"] = turns
        if name == BASE:
            outcome[f"milliseconds_{kind}_{BASE}_ours"] = milliseconds
        else:
            outcome[f"cpu_seconds_{kind}_{name}"] = ratio(turns, "cpu")
            outcome[f"bytes_{kind}_{name}"] = sizes[name] / sizes[BASE]
        print(
            f"  {name:12} {milliseconds:8.3f} ms a patch ({voxels / milliseconds / 1e6:6.2f} voxels/ns), "
            f"{ratio(turns, 'cpu'):6.2f} x the time, {sizes[name] / sizes[BASE]:6.3f} x the bytes of {BASE}",
            flush=True,
        )
    return outcome


if __name__ == "__main__":
    main()
