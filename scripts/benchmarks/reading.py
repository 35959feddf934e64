"""Reading speed of .nii.gz: segfw beside plain SimpleITK, which gives the same float32 array and checks nothing.

python scripts/benchmarks/reading.py [--data FOLDER] [--quick] [--results FOLDER]

The last line is one JSON object of ratios ours / theirs, smaller is better: `read_seconds_small` (the hippocampi of
Task04, else made images of that size), `read_seconds_large` (a made CT of 512 x 512 x 100), and one for each other
folder of `--data` that holds .nii.gz files. `read_cpu_seconds_...` are the same in processor seconds, which other work
on the machine disturbs less.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from common import Turns, arguments, machine, ratio, take_turns, tell, timed, versions
from numpy.typing import NDArray

from segfw.io.formats.readers import read_image

SMALL = "Task04_Hippocampus"
FIGURES = {"seconds": "wall", "cpu_seconds": "cpu"}
SMALL_SHAPE, LARGE_SHAPE = (36, 50, 35), (100, 512, 512)


def theirs(path: Path) -> NDArray[np.float32]:
    """Read one file as anyone would with SimpleITK."""
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), np.float32)


def ours(path: Path) -> NDArray[np.float32]:
    """Read one file as every stage of segfw does."""
    return read_image([path]).array


def compare(files: list[Path], repeats: int) -> list[Turns]:
    """Read every file in turn, after a first time that fills the disk's cache and shows that both read the same."""
    works = []
    for path in files:
        mine, other = ours(path), theirs(path)
        if not np.array_equal(mine.reshape(other.shape), other):
            raise RuntimeError(f"{path} reads differently: {mine.shape} and {other.shape}")
        works.append(take_turns(timed(partial(ours, path)), timed(partial(theirs, path)), repeats))
    return works


def real_sets(data: Path, most: int) -> dict[str, list[Path]]:
    """Return {set: up to `most` files, spread over all} for each folder of `data` that holds .nii.gz files."""
    sets = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        inner = folder / "imagesTr"
        files = sorted((inner if inner.is_dir() else folder).glob("[!.]*.nii.gz"))
        if files:
            sets[folder.name] = files[:: -(-len(files) // most)]
    return sets


def make_image(path: Path, shape: tuple[int, int, int], seed: int) -> Path:
    """Write a smooth int16 volume with noise, which compresses about as a CT does (two to one)."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij", sparse=True)
    body = sum(axis**2 for axis in axes) < 1.2
    values = np.where(body, 40 + 20 * generator.standard_normal(shape, np.float32), -1000)
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing((0.8, 0.8, 2.5))
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    return path


def main() -> None:
    """Compare on every set and tell the outcome."""
    options = arguments(__doc__ or "", peer=False).parse_args()
    repeats, most = (6, 8) if options.quick else (20, 30)
    about = {"machine": machine(), "versions": versions("segfw", "SimpleITK", "numpy")}
    works: dict[str, list[Turns]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        sets = real_sets(options.data, most) if options.data else {}
        small = sets.pop(SMALL, None) or [
            make_image(Path(temporary, f"small_{seed}.nii.gz"), SMALL_SHAPE, seed) for seed in range(most)
        ]
        large = [make_image(Path(temporary, "large.nii.gz"), LARGE_SHAPE, 0)]
        for name, files in {"small": small, "large": large, **sets}.items():
            works[name] = compare(files, repeats)
            seconds = {side: sum(work.least(side, "wall") for work in works[name]) for side in ("ours", "theirs")}
            print(
                f"{name}: {len(files)} files, ours {seconds['ours']:.3f} s, SimpleITK {seconds['theirs']:.3f} s, "
                f"ratio {ratio(works[name], 'wall'):.3f} (processor seconds {ratio(works[name], 'cpu'):.3f})",
                flush=True,
            )
    outcome = {f"read_{key}_{name}": ratio(turns, of) for name, turns in works.items() for key, of in FIGURES.items()}
    tell("reading", outcome, works, about, options.results)


if __name__ == "__main__":
    main()
