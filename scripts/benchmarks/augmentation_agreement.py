"""What augmentation does to a fixed patch: segfw beside nnU-Net, transform by transform.

python scripts/benchmarks/augmentation_agreement.py [--peer-python PATH] [--quick] [--results FOLDER]

Both augment the same patch some thousand times with the published probabilities, one transform at a time; noted are how
often it changes, and of the changes the mean, deviation, minimum and maximum, averaged over the draws. The last line is
one JSON object: per case and transform the largest distance of these averages from nnU-Net's, in standard errors of
their difference (chance alone gives 2 to 3 as the largest of five to nine). Without `--peer-python` it is the
frequency of each of our own.
"""

import json
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from augmentation_changes import AT_ONCE, CASES, TRANSFORMS, Draw, Image, Label, center, make_patch, note_changes
from common import Peer, arguments, child, machine, signed, versions

from segfw.core.settings.training import AugmentationSettings
from segfw.data.augmentation import Augmentation
from segfw.data.cutting import cut_on_host
from segfw.data.drawing import PatchDraws, PatchSpec
from segfw.data.randomness import sample_generators
from segfw.data.spatial import count_spatial, draw_spatial, largest_rotation, loader_patch_size

COUNT, QUICK = 4000, 200
DEFAULT = AugmentationSettings()
PROBABILITIES = [f"{name}_probability" for name in TRANSFORMS if name != "mirror"]
OFF = replace(DEFAULT, **dict.fromkeys(PROBABILITIES, 0.0))
Noted = dict[str, dict[str, dict[str, list[float]]]]


def intensity_draw(augmentation: Augmentation, image: Image, label: Label) -> Draw:
    """Return a function that augments the patch a number of times, as one batch."""
    epochs = iter(range(10**9))
    images, labels = (torch.from_numpy(np.ascontiguousarray(a)).expand(AT_ONCE, *a.shape) for a in (image, label))

    def draw(count: int) -> list[tuple[Image, Label]]:
        got = augmentation(
            images[:count], labels[:count], sample_generators(0, "agreement", next(epochs), range(count))
        )
        return list(zip(got[0].numpy(), got[1].numpy(), strict=True))

    return draw


@dataclass(frozen=True, eq=False)
class OnePatch:
    """The patch as the only case of a store, in three axes."""

    arrays: tuple[Image, Label]

    def image(self, name: str) -> Image:
        """Return its image."""
        return self.arrays[0]

    def label(self, name: str) -> Label:
        """Return its label map."""
        return self.arrays[1]


def spatial_draw(size: tuple[int, ...], image: Image, label: Label) -> Draw:
    """Return a function that reads the patch a number of times, rotated and scaled."""
    rng, spec = np.random.default_rng(1), PatchSpec(size, AT_ONCE, spatial=DEFAULT)
    only = OnePatch((image[:, None], label[:, None]) if len(size) == 2 else (image, label))

    def draw(count: int) -> list[tuple[Image, Label]]:
        drawn = draw_spatial(rng.random((count, count_spatial(len(size)))), size, DEFAULT)
        read = cut_on_host(only, PatchDraws(("patch",) * count, np.zeros((count, 3), np.int64), drawn), spec)
        return list(zip(read[0].numpy(), read[1].numpy(), strict=True))

    return draw


def ours(count: int) -> Noted:
    """Note what each of our transforms does to the patch of each case."""
    noted: Noted = {}
    for name, (size, in_plane) in CASES.items():
        image, label = make_patch(loader_patch_size(size, DEFAULT))
        before, inner = center(image, size), center(label, size)
        noted[name] = {"spatial": note_changes(before, spatial_draw(size, image, label), count)}
        for transform in TRANSFORMS:
            key = f"{transform}_probability"
            settings = OFF if transform == "mirror" else replace(OFF, **{key: getattr(DEFAULT, key)})
            axes = tuple(range(len(size))) if transform == "mirror" else ()
            augmentation = Augmentation(settings, axes, keep_first_axis=in_plane)
            noted[name][transform] = note_changes(before, intensity_draw(augmentation, before, inner), count)
    return noted


def theirs(peer: Peer, count: int) -> Noted:
    """Let nnU-Net do the same in its own environment."""
    asked = {
        name: {"loader": loader_patch_size(size, DEFAULT), "rotation": largest_rotation(size, DEFAULT)}
        for name, (size, _) in CASES.items()
    }
    script = Path(__file__).with_name("augmentation_agreement_peer.py")
    target = peer.root / "theirs.json"
    child([str(peer.python), str(script), str(target), str(count), json.dumps(asked)], peer.environment)()
    noted: Noted = json.loads(target.read_text())
    return noted


def distance(one: list[float], other: list[float]) -> float:
    """Return how far two [mean, standard error] lie apart, in standard errors of the difference; 0 if both are sure."""
    error = math.hypot(one[1], other[1])
    return 0.0 if abs(one[0] - other[0]) < 1e-6 else abs(one[0] - other[0]) / max(error, 1e-12)


def main() -> None:
    """Compare and tell."""
    options = arguments(__doc__).parse_args()
    about = {"machine": machine(), "versions": versions("numpy", "torch")}
    torch.set_num_threads(1)
    count = QUICK if options.quick else COUNT
    mine = ours(count)
    outcome = {f"frequency_{c}_{t}": mine[c][t]["frequency"][0] for c in mine for t in mine[c]}
    table: dict[str, object] = {"ours": mine}
    if options.peer_python:
        with tempfile.TemporaryDirectory() as folder:
            other = theirs(Peer(options.peer_python, Path(folder)), count)
        table["theirs"] = other
        outcome = {
            f"distance_{c}_{t}": max(distance(mine[c][t][key], other[c][t][key]) for key in mine[c][t])
            for c in mine
            for t in mine[c]
        }
    outcome = {key: float(f"{value:.4g}") for key, value in outcome.items()}
    if options.results:
        options.results.mkdir(parents=True, exist_ok=True)
        content = signed({**about, "draws": count, "outcome": outcome})
        rounded = json.loads(json.dumps({**content, **table}), parse_float=lambda text: float(f"{float(text):.5g}"))
        path = options.results / "augmentation_agreement.json"
        path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
