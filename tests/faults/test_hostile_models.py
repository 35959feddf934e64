"""Hostile files through every entry that reads what others made: refused by name, within memory, nothing of them run.

`pytest -rP -n 0 tests/faults/test_hostile_models.py` prints how many files each entry was given and refused.
"""

import hashlib
import pickle
import resource
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from segfw import Predictor
from segfw.core.errors import ArtefactError, SegfwError
from segfw.core.planning.plan_yaml import plan_from_yaml
from segfw.core.settings.training import PretrainedSettings
from segfw.core.settings.verbs import CompareSettings, ExportSettings, ImportSettings, PredictSettings
from segfw.data.kept_logits import load_logits
from segfw.data.store import map_array
from segfw.inference.bundle import save_bundle
from segfw.stages.dataset.folds import read_splits
from segfw.stages.inspection import compare
from segfw.stages.inspection.run_signs import read_signs
from segfw.stages.models import export, import_model
from segfw.stages.prediction import predict
from segfw.stages.trainings.pretrained import check_pretrained, read_pretrained
from segfw.stages.trainings.runs import load_finished, load_run
from segfw.sweeps.study import read_trials
from segfw.training.checkpoints import checkpoint_to_go_on_from, network_weights
from segfw.workspace import Workspace
from tests.faults import hostile_files
from tests.inference.tiny_model import make_bundle, make_plan
from tests.interop.nnunet_files import write_model
from tests.stages.inspection.test_compare import BEFORE, place, write_run

MEMORY = 400 * 2**20
"""Bytes by which reading all the files of an entry may enlarge the process; each bomb asks for more."""

DATA = {("compare, config.yaml", "a nested _target_")}
"""Files that are plain mappings of words to who reads them, and are shown as such."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A packaged model and a trained-model folder of nnU-Net, to be spoilt."""
    root = tmp_path_factory.mktemp("models")
    save_bundle(root / "package", make_bundle(make_plan(), (("3d_fullres", 0),)))
    write_model(root)
    return root


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    return tmp_path_factory.mktemp("marked") / "mark"


@pytest.fixture
def mark(marked, monkeypatch):
    """What a payload writes if it is run, and a secret in the environment."""
    monkeypatch.setenv(hostile_files.SECRET, "do-not-tell")
    return marked


def check_refused(entry, name, read, files, mark):
    """Give each of `files` to `read`; each must end in one error that names the file `name`. Prints the counts."""
    before, accepted, data = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}, 0
    for title, content in files.items():
        try:
            taken = read(content)
            if (entry, title) in DATA:
                data += 1
            else:
                accepted[title] = f"taken as {type(taken).__name__}"
        except SegfwError as error:
            told = str(error)
            if name not in told or len(told) > 2000 or "do-not-tell" in told:
                accepted[title] = f"the message is {told[:300]!r}"
        except Exception as error:
            accepted[title] = f"{type(error).__name__}: {error}"
        assert not mark.exists(), f"{entry}: {title} was run"
    refused = len(files) - len(accepted) - data
    print(f"{entry}: {refused} of {len(files)} refused" + (f", {data} shown as plain text" if data else ""))
    assert accepted == {}
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def package(models, tmp_path, content):
    """Write a model whose weights are `content`, with the SHA-256 that its manifest should have."""
    plain = yaml.safe_load((models / "package/model.yaml").read_text())
    plain["members"][0]["sha256"] = hashlib.sha256(content).hexdigest()
    folder = tmp_path / "spoilt"
    folder.mkdir(exist_ok=True)
    (folder / plain["members"][0]["file"]).write_bytes(content)
    (folder / "model.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    return folder


def zipped(folder, tmp_path):
    path = tmp_path / "spoilt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def trained(models, tmp_path, content, file="fold_0/checkpoint_final.pth"):
    """Write a trained-model folder of nnU-Net with a file of that content."""
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    if not folder.exists():
        write_model(tmp_path)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(content)
    return folder


def imported(source, tmp_path):
    return import_model.run(ImportSettings(source=str(source), output=str(tmp_path / "out"), overwrite=True))


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pretrained(path):
    settings = PretrainedSettings(path=str(path))
    check_pretrained(settings)
    return read_pretrained(settings, "3d_fullres", 0)


def weight_entries(models, tmp_path) -> dict[str, tuple[str, Callable]]:
    """Return entry -> the file's name and what reads weights of some content."""
    spoilt = partial(package, models, tmp_path)

    def predicted(content):
        words = {"model": str(spoilt(content)), "input": "a.nii.gz", "output": str(tmp_path / "segmented")}
        return predict.run(PredictSettings(**words))

    def exported(kind, content):
        words = {"model": str(spoilt(content)), "output": str(tmp_path / kind)}
        return export.run(ExportSettings(format=kind, **words))

    def resumed(content):
        written(tmp_path / "checkpoints/last.ckpt", content)
        return checkpoint_to_go_on_from(tmp_path / "checkpoints")

    member = ".safetensors"
    return {
        "predict model=FOLDER": (member, predicted),
        "Predictor.load(FOLDER)": (member, lambda content: Predictor.load(spoilt(content))),
        "Predictor.load(ZIP)": (member, lambda content: Predictor.load(zipped(spoilt(content), tmp_path))),
        "export format=onnx": (member, partial(exported, "onnx")),
        "export format=nnunet": (member, partial(exported, "nnunet")),
        "import source=FOLDER": ("checkpoint_final.pth", lambda c: imported(trained(models, tmp_path, c), tmp_path)),
        "import source=ZIP": (
            "spoilt.zip", lambda c: imported(zipped(trained(models, tmp_path, c), tmp_path), tmp_path),
        ),
        **{
            f"pretrained.path={kind}": (kind, lambda c, kind=kind: pretrained(written(tmp_path / f"w{kind}", c)))
            for kind in (".ckpt", ".pth", ".safetensors", ".zip")
        },
        "pretrained.path=FOLDER": (member, lambda content: pretrained(spoilt(content))),
        "a training that goes on": ("last.ckpt", resumed),
        "select, logits made again": ("last.ckpt", lambda c: network_weights(written(tmp_path / "last.ckpt", c))),
    }  # fmt: skip


@pytest.mark.parametrize("entry", weight_entries(None, None))
def test_weights_that_are_none(entry, models, tmp_path, mark):
    name, read = weight_entries(models, tmp_path)[entry]
    check_refused(entry, name, read, hostile_files.weights(mark), mark)


def text_entries(models, tmp_path) -> dict[str, tuple[str, Callable]]:
    """Return entry -> the file's name and what reads YAML or JSON of some content."""
    run = place(tmp_path, "main")
    other = place(tmp_path, "other")

    def manifest(read, content):
        written(tmp_path / "package/model.yaml", content)
        return read(tmp_path / "package")

    def spoilt_run(file, read, content):
        for folder in (run, other):
            if not folder.exists():
                write_run(folder, BEFORE)
        before = (run / file).read_bytes()
        written(run / file, content)
        try:
            return read()
        finally:
            (run / file).write_bytes(before)

    def signs():
        """Status and report go on without a damaged run, and name what is wrong with it."""
        damaged = read_signs(Workspace(tmp_path / "Tiny"), run).damaged
        if load_finished(run) is None and damaged:
            raise SegfwError("; ".join(damaged))
        return damaged

    def compared():
        return compare.run(CompareSettings(runs=(str(run), str(other))))

    def nnunet(file, content):
        return imported(trained(models, tmp_path, content.encode(), file), tmp_path)

    return {
        "predict model=FOLDER": ("model.yaml", partial(manifest, Predictor.load)),
        "pretrained.path=FOLDER": ("model.yaml", partial(manifest, pretrained)),
        "a run's config.yaml": ("config.yaml", partial(spoilt_run, "config.yaml", lambda: load_run(run))),
        "compare, config.yaml": ("config.yaml", partial(spoilt_run, "config.yaml", compared)),
        "compare, done.yaml": ("done.yaml", partial(spoilt_run, "done.yaml", compared)),
        "compare, metrics.json": ("metrics.json", partial(spoilt_run, "validation/metrics.json", compared)),
        "status and report, config.yaml": ("config.yaml", partial(spoilt_run, "config.yaml", signs)),
        "status and report, done.yaml": ("done.yaml", partial(spoilt_run, "done.yaml", signs)),
        "planner.plan_file": ("plan.yaml", lambda text: plan_from_yaml(text, "plan.yaml")),
        "split.file": ("splits.pkl", lambda text: read_splits(written(tmp_path / "splits.pkl", text))),
        "import, plans.json": ("plans.json", partial(nnunet, "plans.json")),
        "import, dataset.json": ("dataset.json", partial(nnunet, "dataset.json")),
        "import, postprocessing.json": (
            "postprocessing.json", partial(nnunet, "crossval_results_folds_0/postprocessing.json"),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("entry", text_entries(None, Path()))
def test_texts_that_would_run_something_or_never_end(entry, models, tmp_path, mark):
    name, read = text_entries(models, tmp_path)[entry]
    check_refused(entry, name, read, hostile_files.texts(mark), mark)


def arrays(mark):
    """Return name -> content of npy files that hold objects, or whose header lies."""

    def npy(text, data=b"1234"):
        header = text.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data

    def header(descr, shape):
        return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"

    return {
        "objects": hostile_files.npy(mark),
        "objects in a short file": npy(header("|O", (1,)), bytes(8)),
        "terabytes": npy(header("<f4", (2**40,))),
        "a negative size": npy(header("<f4", (-1,))),
        "a record": npy(header([("a", "<f4")], (1,))),
        "a call": npy(f"__import__('os').system('touch {mark}')"),
        "nested brackets": npy("(" * 110),
        "a pickle": pickle.dumps(hostile_files.payload(mark)),
        "nothing": b"",
    }


def test_arrays_that_are_none(tmp_path, mark):
    def kept(content):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            for name in ("high.npy", "low.npy"):
                archive.writestr(name, content)
        return load_logits(tmp_path / "a.npz")

    def stored(content):
        return map_array(written(tmp_path / "a.npy", content))

    check_refused("a store's arrays", "a.npy", stored, arrays(mark), mark)
    check_refused("kept logits", "a.npz", kept, arrays(mark), mark)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("high.npy", bytes(10**8))
        archive.writestr("low.npy", bytes(10**8))
    with pytest.raises(ArtefactError, match=r"high\.npy would unpack to 100000000 bytes"):
        load_logits(tmp_path / "a.npz")


def test_a_journal_of_a_search_is_read_as_lines_of_json(tmp_path, mark):
    pytest.importorskip("optuna")
    path = written(tmp_path / "study.journal", pickle.dumps(hostile_files.payload(mark)) + b"\n")
    with pytest.raises(SegfwError, match=r"study\.journal"):
        read_trials(path, "main", {}, "maximize", 0, {})
    assert not mark.exists()
