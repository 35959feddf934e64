"""Measure how a model that nnU-Net has trained predicts here, and a model written here in nnU-Net.

    python scripts/interop_model_check.py --model FOLDER --images FOLDER [--peer-python PATH] [--record FILE]

FOLDER of `--model` holds a trained-model folder of nnU-Net, `<trainer>__<plans>__<configuration>`, and what nnU-Net has
predicted with it: segmentations in `pred_tta` and `pred_notta` (with and without mirroring), exported probabilities in
`probabilities_tta` and `probabilities_notta`. The model is imported, and every one of these cases predicted with it.

With `--peer-python`, an interpreter that has nnunetv2, the imported model is then written as nnU-Net's, and its own
command predicts a few of the images with it on the CPU, without mirroring. So it does with the random models of
`interop_variants.py`, mirroring too; what was written is imported again for our side. Figures are printed and recorded.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from interop_check import Peer
from interop_variants import CASE, variants, write_images
from numpy.typing import NDArray

from segfw import Predictor
from segfw.core.settings.verbs import InferenceOverrides
from segfw.core.support.cpu import available_cores
from segfw.core.version import __version__
from segfw.inference.bundle import load_bundle, save_bundle
from segfw.interop.model_files import open_files
from segfw.interop.nnunet_export import write_trained_model
from segfw.interop.nnunet_folder import Choice
from segfw.interop.nnunet_model import read_model

MODES = {"tta": True, "notta": False}
CLOSE = 1e-3
"""Two best probabilities that differ by less may be ordered either way."""
RECORD = Path(__file__).parent / "benchmarks" / "results" / "nnunet_model_parity.json"


@dataclass
class Parity:
    """How far segmentations agree with the reference's; margins and errors are differences of probabilities.

    The margin of a voxel is what its two best labels differ by or, with `regions`, how close one of them is to 1/2.
    """

    regions: bool = False
    cases: int = 0
    voxels: int = 0
    voxels_that_differ: int = 0
    largest_margin_where_they_differ: float = 0.0
    voxels_that_differ_beyond_1e3: int = 0
    cases_with_probabilities: int = 0
    largest_error_of_a_probability: float | None = None
    mean_error_of_a_probability: float | None = None

    @property
    def holds(self) -> bool:
        """Whether only voxels of all but equal probabilities differ, and no probability is off by more."""
        error = self.largest_error_of_a_probability
        return self.cases > 0 and self.voxels_that_differ_beyond_1e3 == 0 and (error is None or error < CLOSE)

    @property
    def holds_on_average(self) -> bool:
        """Whether all but single voxels agree: what half precision allows for random networks."""
        error = self.mean_error_of_a_probability
        return error is not None and error < CLOSE and self.voxels_that_differ * 1000 < self.voxels

    def add(self, ours: NDArray[Any], theirs: NDArray[Any], probabilities: NDArray[np.float32]) -> None:
        """Count the voxels of one case; `probabilities` are ours, `(heads, Z, Y, X)`."""
        differ = ours != theirs
        best = np.sort(probabilities, axis=0)[-2:]
        margins = (np.abs(probabilities - 0.5).min(0) if self.regions else best[1] - best[0])[differ]
        self.cases += 1
        self.voxels += ours.size
        self.voxels_that_differ += int(differ.sum())
        self.voxels_that_differ_beyond_1e3 += int((margins >= CLOSE).sum())
        self.largest_margin_where_they_differ = max(self.largest_margin_where_they_differ, *margins.tolist(), 0.0)

    def add_probabilities(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        """Note the errors of one case; the mean is the largest of any case."""
        errors = np.abs(ours - theirs)
        self.cases_with_probabilities += 1
        self.largest_error_of_a_probability = max(float(errors.max()), self.largest_error_of_a_probability or 0.0)
        self.mean_error_of_a_probability = max(float(errors.mean()), self.mean_error_of_a_probability or 0.0)


def main() -> int:
    """Measure; return 0 when everything agrees."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="segfw-interop-") as scratch:
        model = import_model(options.model, Path(scratch) / "model")
        imported = {mode: measure_import(options, model, mode) for mode in MODES}
        peer = None if options.peer_python is None else Peer(options.peer_python.absolute(), Path(scratch))
        exported = None if peer is None else measure_export(options, model, peer)
        random = {} if peer is None else measure_variants(peer)
        versions = {"segfw": __version__, "torch": torch.__version__, "numpy": np.__version__, **_versions(peer)}
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {available_cores()} cores, no GPU",
        "versions": versions,
        "command": f"python scripts/interop_model_check.py --model {options.model.name} --images "
        f"{options.images.parent.name}/{options.images.name}" + ("" if peer is None else " --peer-python PATH"),
        "imported_model_predicts_as_in_nnunet": {mode: asdict(parity) for mode, parity in imported.items()},
        "exported_model_predicts_in_nnunet": None if exported is None else asdict(exported),
        "random_models_written_and_imported_again": {words: asdict(parity) for words, parity in random.items()},
    }
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")
    measured = (*imported.values(), *([exported] if exported else []))
    agree = all(parity.holds for parity in measured) and all(parity.holds_on_average for parity in random.values())
    return 0 if agree else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained model and its predictions")
    parser.add_argument("--images", type=Path, required=True, help="folder of the images, <case>.nii.gz")
    parser.add_argument("--peer-python", type=Path, help="an interpreter that has nnunetv2")
    parser.add_argument("--exported", type=int, default=2, help="how many images nnU-Net predicts")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file of the figures")
    return parser.parse_args()


def import_model(folder: Path, target: Path) -> Path:
    """Import the trained model below `folder` and save it."""
    (source,) = folder.glob("*__*__*")
    save_bundle(target, read_model(open_files(source), Choice()).bundle)
    return target


def measure_import(options: argparse.Namespace, model: Path, mode: str) -> Parity:
    """Predict every case that nnU-Net has predicted and compare."""
    predictor = Predictor.load(model, "cpu", InferenceOverrides(mirror=MODES[mode]))
    parity = Parity()
    for reference in sorted((options.model / f"pred_{mode}").glob("*.nii.gz")):
        result = predictor.predict(options.images / reference.name, probabilities=True)
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(reference)))
        parity.add(sitk.GetArrayFromImage(result.segmentation), theirs, result.probabilities)
        exported = options.model / f"probabilities_{mode}" / reference.name.replace(".nii.gz", ".npz")
        if exported.is_file():
            with np.load(exported) as file:
                parity.add_probabilities(result.probabilities, file["probabilities"])
    return parity


def measure_export(options: argparse.Namespace, model: Path, peer: Peer) -> Parity:
    """Write the model as nnU-Net's, let nnU-Net predict a few images with it, and compare."""
    folder, images, predicted = (peer.root / name for name in ("exported", "images", "predicted"))
    write_trained_model(load_bundle(model), folder)
    images.mkdir()
    cases = [path.name for path in sorted((options.model / "pred_notta").glob("*.nii.gz"))[: options.exported]]
    for case in cases:
        shutil.copy(options.images / case, images / case.replace(".nii.gz", "_0000.nii.gz"))
    predict_there(peer, folder, images, predicted, "--disable_tta")
    predictor = Predictor.load(model, "cpu", InferenceOverrides(mirror=False))
    parity = Parity()
    for case in cases:
        compare(parity, predictor.predict(options.images / case, probabilities=True), predicted / case)
    return parity


def measure_variants(peer: Peer) -> dict[str, Parity]:
    """Write random models as nnU-Net's, predict with them there, import them again and predict with them here."""
    images = peer.root / "variant images"
    images.mkdir()
    files = write_images(images)
    parities = {}
    for number, (words, bundle) in enumerate(variants()):
        folder, predicted, model = (peer.root / f"{name} {number}" for name in ("written", "predicted", "again"))
        write_trained_model(bundle, folder)
        predict_there(peer, folder, images, predicted)
        save_bundle(model, read_model(open_files(folder), Choice()).bundle)
        parities[words] = Parity(regions=bundle.plan.labels.has_regions)
        result = Predictor.load(model, "cpu").predict(files, probabilities=True)
        compare(parities[words], result, predicted / f"{CASE}.nii.gz")
    return parities


def predict_there(peer: Peer, model: Path, images: Path, target: Path, *switches: str) -> None:
    """Run nnU-Net's prediction with every fold of a model."""
    folds = [path.name.removeprefix("fold_") for path in sorted(model.glob("fold_*"))]
    places = ["-i", str(images), "-o", str(target), "-m", str(model), "-f", *folds]
    options = ["-device", "cpu", "--save_probabilities", "-npp", "1", "-nps", "1", *switches]
    answer = peer.run(peer.command("nnUNetv2_predict_from_modelfolder", *places, *options))
    if answer.returncode:
        sys.stderr.write(answer.stdout)
        raise SystemExit("nnU-Net does not predict with the exported model")


def compare(parity: Parity, result: Any, segmentation: Path) -> None:
    """Add a case to `parity`, whose probabilities nnU-Net has put beside its segmentation."""
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(segmentation)))
    parity.add(sitk.GetArrayFromImage(result.segmentation), theirs, result.probabilities)
    with np.load(segmentation.with_name(segmentation.name.replace(".nii.gz", ".npz"))) as file:
        parity.add_probabilities(result.probabilities, file["probabilities"])


def _versions(peer: Peer | None) -> dict[str, str]:
    if peer is None:
        return {}
    ask = "import importlib.metadata as m, json; print(json.dumps({p: m.version(p) for p in ('nnunetv2', 'torch')}))"
    theirs = json.loads(peer.run([str(peer.python), "-c", ask]).stdout.splitlines()[-1])
    return {"nnunetv2": theirs["nnunetv2"], "torch of nnunetv2": theirs["torch"]}


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
