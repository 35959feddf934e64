"""The commands on raw data in a store, S3's as moto plays it: what they make is what local data give."""

import shutil

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from segfw import __main__ as program
from segfw.core.planning import fingerprint as core_fingerprint
from segfw.core.settings.schema import ExperimentSettings, TaskSettings
from segfw.core.support.addresses import mirror_path
from segfw.io.remote import system
from segfw.io.remote.listing import forget
from segfw.stages.dataset.raw import changed_files, find_dataset, scan
from segfw.stages.dataset.raw_folds import chosen_split
from segfw.stages.dataset.record import load_record
from segfw.workspace import Workspace
from tests.io.remote.http_site import serving
from tests.stages.tiny_dataset import CASES, image_file, image_of, label_file, label_of, make, write

WORDS = ("stages=[fingerprint,plan,preprocess]", "configurations=[3d_fullres]", "split.num_folds=3", "task.name=Tiny")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(core_fingerprint, "TOTAL_SAMPLES", 3000)
    monkeypatch.setattr(system, "PAUSE", 0.0)


@pytest.fixture
def server(monkeypatch):
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()  # which know the server of before
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
    yield running
    running.stop()


def in_memory(folder):
    """Return fsspec's store in memory with the folder as /bucket/Tiny."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    store.put(str(folder), "/bucket/Tiny", recursive=True)
    return store


def test_no_repaired_copy_is_written_beside_an_address(tmp_path, capsys):
    here = make(tmp_path / "data" / "Tiny")
    write(label_file(here, "bob"), label_of("bob"), origin=(9.0, 0.0, 0.0))
    in_memory(here)
    task = ("task.name=Tiny", "task.folder=memory://bucket/Tiny", "verify.fix=copy_header", "executor.workers=0")
    assert program.main(["verify", *task, f"output_root={tmp_path / 'out'}", f"data_cache={tmp_path / 'cache'}"]) == 1
    said = " ".join("".join(capsys.readouterr()).split())
    assert "verify.fix=copy_header repaired 0 of 1 error in copies" in said
    assert "no copy is written beside memory://bucket/Tiny/labelsTr/bob.nii.gz" in said
    assert not list(tmp_path.rglob("*repaired*"))


@pytest.mark.parametrize("brought", [True, False])
def test_folds_beside_raw_data_at_an_address_are_used(tmp_path, brought):
    here = make(tmp_path / "data" / "Tiny")
    if brought:
        (here / "splits_final.json").write_text("[]")
    in_memory(here)
    folder = mirror_path("memory://bucket/Tiny", str(tmp_path / "cache"))
    settings = ExperimentSettings(task=TaskSettings(name="Tiny", folder=str(folder)))
    assert chosen_split(settings).file == (str(folder / "splits_final.json") if brought else None)


def test_a_changed_file_is_noticed_without_fetching_any(tmp_path, monkeypatch, caplog):
    store = in_memory(make(tmp_path / "data" / "Tiny"))
    cache, workspace = str(tmp_path / "cache"), Workspace(tmp_path / "out" / "Tiny")
    workspace.root.mkdir(parents=True)
    task = TaskSettings(name="Tiny", folder=str(mirror_path("memory://bucket/Tiny", cache)))

    def look():
        return scan(find_dataset(task, tmp_path, cache), workspace)

    before = look()
    assert (look(), load_record(workspace), changed_files(before)) == (before, before, [])
    image = before.dataset.case("bob").images[0]
    store.pipe("/bucket/Tiny/imagesTr/bob_0000.nii.gz", b"other")
    forget()
    assert changed_files(before) == [image]
    after = look()
    assert {path for path in after.files if after.files[path] != before.files[path]} == {image}
    assert (after.files[image].size, after.content != before.content) == (5, True)
    assert not list((tmp_path / "cache").rglob("*.nii.gz"))

    def gone(*_args, **_options):
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(MemoryFileSystem, "find", gone)
    shutil.rmtree(tmp_path / "cache" / ".listings")
    forget()
    assert len(changed_files(after)) == 6
    assert "nobody listens" in caplog.text


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run the program in this process; return its exit status and what it said."""
    monkeypatch.chdir(tmp_path)

    def segfw(output, *words):
        roots = (f"output_root={tmp_path / output}", f"data_cache={tmp_path / 'cache'}", "executor.workers=0")
        status = program.main([*WORDS, *roots, *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return segfw


def made(folder):
    """Return the bytes of what the stages made, but for the line of the fingerprint that says which raw files it is of.

    Of a store nothing is known of these but what the server says.
    """
    kept = ("fingerprint.yaml", "splits.json", "plans/*.yaml", "preprocessed/*/*.npy")
    files = {path for pattern in kept for path in folder.glob(pattern)}
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    lines = found["fingerprint.yaml"].splitlines()
    assert lines[-1].startswith(b'# record: {"made_from": {"dataset": ')
    return found | {"fingerprint.yaml": lines[:-1]}


@pytest.mark.slow
def test_a_bucket_gives_what_the_folder_gives(tmp_path, server, run):
    here = make(tmp_path / "data" / "Tiny")
    store = fsspec.filesystem("s3", use_listings_cache=False)
    store.put(str(here), "bucket/data/Tiny", recursive=True)
    status, said = run("local", f"data_root={here.parent}")
    assert status == 0, said
    status, said = run("remote", "data_root=s3://bucket/data")
    assert status == 0, said
    local, remote = made(tmp_path / "local/Tiny"), made(tmp_path / "remote/Tiny")
    assert len(local) > 3 + len(CASES)
    assert remote == local

    image = image_file(here, "bob").read_bytes()
    write(tmp_path / "other.nii.gz", image_of("bob") + 1)
    store.pipe("bucket/data/Tiny/imagesTr/bob_0000.nii.gz", (tmp_path / "other.nii.gz").read_bytes())
    status, said = run("remote", "data_root=s3://bucket/data", "stages=[plan]")
    assert (status, "fingerprint.yaml is stale" in said) == (1, True), said
    store.pipe("bucket/data/Tiny/imagesTr/bob_0000.nii.gz", image)

    server.stop()
    status, said = run("remote", "data_root=s3://bucket/data")
    assert status == 0, said
    assert "what it told last is taken" in said
    assert made(tmp_path / "remote/Tiny") == local


@pytest.mark.parametrize("folder", ["s3://bucket/Nope", "s3://nobucket/Tiny"])
def test_what_is_not_there_is_one_line(tmp_path, server, run, folder):
    status, said = run("remote", f"task.folder={folder}")
    assert status == 1
    assert f"there is nothing at {folder}" in said
    assert "Traceback" not in said


def test_a_signature_is_written_nowhere(tmp_path, run):
    """Neither where all is well nor where a file is missing; the cache keeps it, for the user alone."""
    here = make(tmp_path / "data" / "Tiny")
    image_file(here, "cyd").unlink()
    with serving(here) as (address, asked):
        rows = [f"{c},{address}/imagesTr/{c}_0000.nii.gz?sig=SECRET,labelsTr/{c}.nii.gz" for c in CASES]
        (here / "cases.csv").write_text("\n".join(("case,image,label", *rows)))
        status, said = run("out", f"task.folder={here}/cases.csv")
    assert (status, "imagesTr/cyd_0000.nii.gz" in said) == (1, True), said
    assert "/imagesTr/ann_0000.nii.gz?sig=SECRET" in asked
    assert "SECRET" not in said
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "cases.csv"]
    telling = [path for path in written if b"SECRET" in path.read_bytes()]
    assert {path.parent for path in telling} == {tmp_path / "cache" / ".addresses"}
