"""Datasets at addresses: what is listed, how often, and what of it is fetched."""

import json
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from segfw.core.errors import DataError
from segfw.core.settings.schema import TaskSettings
from segfw.core.support.addresses import mirror_path
from segfw.io.datasets.layouts import missing_files, orphan_labels, read_dataset
from segfw.io.remote import system
from segfw.io.remote.arrival import arrive
from segfw.io.remote.listing import forget, states_of
from tests.io.remote.http_site import serving
from tests.stages.tiny_dataset import CASES, make

PLACE = "memory://bucket/Tiny"


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    """The dataset of three cases in a store in memory."""
    monkeypatch.setattr(system, "PAUSE", 0.0)
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pseudo_dirs[:] = [""]
    found.put(str(make(tmp_path / "here" / "Tiny")), "/bucket/Tiny", recursive=True)
    yield found
    found.store.clear()
    forget()


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


def task_at(address, cache, **options):
    return TaskSettings(name="Tiny", folder=str(mirror_path(address, cache)), **options)


def counted(monkeypatch, name):
    """Count the calls of a method of the store."""
    calls = []
    original = getattr(MemoryFileSystem, name)
    monkeypatch.setattr(
        MemoryFileSystem, name, lambda self, *args, **options: calls.append(args) or original(self, *args, **options)
    )
    return calls


def test_a_folder_is_listed_once_and_only_its_description_fetched(tmp_path, cache, monkeypatch):
    finds, infos, gets = (counted(monkeypatch, name) for name in ("find", "info", "get_file"))
    task = task_at(PLACE, cache)
    dataset = read_dataset(task, tmp_path, cache)
    local = read_dataset(TaskSettings(name="Tiny", folder=str(tmp_path / "here/Tiny")), tmp_path)
    finds.clear()
    infos.clear()
    gets.clear()
    dataset = read_dataset(task, tmp_path, cache)
    assert missing_files(dataset) == {}
    assert orphan_labels(task, tmp_path, dataset) == ()
    assert len(states_of(path for case in dataset.cases for path in case.files)) == 6
    assert (len(finds), infos, gets) == (1, [], [])
    here, there = str(tmp_path / "here"), f"{cache}/segfw-addresses/memory:/bucket"
    assert [case.files for case in dataset.cases] == [
        tuple(path.replace(here, there) for path in case.files) for case in local.cases
    ]
    fetched = [path.name for path in (tmp_path / "cache" / "segfw-addresses" / "memory:").rglob("*") if path.is_file()]
    assert fetched == ["dataset.json"]


def test_what_is_missing_or_too_many_is_told(tmp_path, cache, store):
    store.mv("/bucket/Tiny/labelsTr/bob.nii.gz", "/bucket/Tiny/labelsTr/eve.nii.gz")
    task = task_at(PLACE, cache)
    dataset = read_dataset(task, tmp_path, cache)
    labels = f"{cache}/segfw-addresses/memory:/bucket/Tiny/labelsTr"
    assert missing_files(dataset) == {"bob": (f"{labels}/bob.nii.gz",)}
    assert orphan_labels(task, tmp_path, dataset) == (f"{labels}/eve.nii.gz",)


def test_errors_name_the_address(tmp_path, cache, store):
    store.pipe("/bucket/Tiny/dataset.json", b"{")
    with pytest.raises(DataError, match=f"^{PLACE}/dataset.json is not valid JSON"):
        read_dataset(task_at(PLACE, cache), tmp_path, cache)
    with pytest.raises(DataError, match="there is nothing at memory://bucket/Nope"):
        read_dataset(task_at("memory://bucket/Nope", cache), tmp_path, cache)


def test_without_the_server_its_last_word_is_taken(tmp_path, cache, monkeypatch, caplog):
    dataset = read_dataset(task_at(PLACE, cache), tmp_path, cache)
    states = states_of(dataset.cases[0].files)

    def gone(*_args, **_options):
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(MemoryFileSystem, "find", gone)
    assert read_dataset(task_at(PLACE, cache), tmp_path, cache) == dataset
    assert states_of(dataset.cases[0].files) == states
    assert "nobody listens (4 attempts); what it told last is taken" in caplog.text


@pytest.mark.parametrize("remote", [True, False])
def test_a_list_may_name_addresses(tmp_path, cache, store, remote):
    cell = {True: "../Tiny/imagesTr/ann_0000.nii.gz", False: f"{PLACE}/imagesTr/ann_0000.nii.gz"}[remote]
    text = f"case,image,label\nann,{cell},{PLACE}/labelsTr/ann.nii.gz\nbob,{PLACE}/imagesTr/no.nii.gz,/tmp\n"
    (tmp_path / "cases.csv").write_text(text)
    store.pipe("/bucket/lists/cases.csv", text.encode())
    options = {"channels": ("CT",), "labels": {"background": 0, "liver": 1}}
    place = str(mirror_path("memory://bucket/lists/cases.csv", cache)) if remote else str(tmp_path / "cases.csv")
    dataset = read_dataset(TaskSettings(name="Tiny", folder=place, **options), tmp_path, cache)
    ann, bob = dataset.cases
    there = f"{cache}/segfw-addresses/memory:/bucket/Tiny"
    assert ann.files == (f"{there}/imagesTr/ann_0000.nii.gz", f"{there}/labelsTr/ann.nii.gz")
    assert missing_files(dataset) == {"bob": (bob.images[0],)}
    assert bob.label == "/tmp"


def test_a_list_cannot_lead_out_of_its_host(tmp_path, cache, store):
    store.pipe("/bucket/cases.csv", b"image,label\n../../../etc/a.nii.gz,b.nii.gz\n")
    task = task_at("memory://bucket/cases.csv", cache, channels=("CT",), labels={"background": 0, "liver": 1})
    with pytest.raises(DataError, match=r"a file that no address has: .*etc/a.nii.gz"):
        read_dataset(task, tmp_path, cache)


def test_a_series_is_a_folder_whose_slices_make_its_version(tmp_path, cache, store):
    store.rm("/bucket/Tiny/imagesTr", recursive=True)
    for case in CASES:
        store.pipe({f"/bucket/Tiny/imagesTr/{case}/{number}.dcm": b"slice" for number in range(3)})
    dataset = read_dataset(task_at(PLACE, cache), tmp_path, cache)
    (series,) = dataset.cases[0].images
    assert series == f"{cache}/segfw-addresses/memory:/bucket/Tiny/imagesTr/ann"
    before = states_of([series])[series]
    assert before.size == 15
    forget()
    store.pipe("/bucket/Tiny/imagesTr/ann/1.dcm", b"other")
    assert states_of([series])[series] != before


@pytest.fixture
def site(tmp_path):
    with serving(tmp_path / "here") as found:
        yield found


def test_http_reads_what_a_description_or_a_list_names(tmp_path, cache, site):
    address, asked = site
    folder = tmp_path / "here" / "Tiny"
    with pytest.raises(DataError, match="Tiny has no folder imagesTr"):
        read_dataset(task_at(f"{address}/Tiny", cache), tmp_path, cache)
    with pytest.raises(DataError, match=f"no file {address}/Nope/dataset.json; .* cannot be listed"):
        read_dataset(task_at(f"{address}/Nope", cache), tmp_path, cache)
    (folder / "cases.csv").write_text(
        "case,image,label\n" + "".join(f"{c},imagesTr/{c}_0000.nii.gz,labelsTr/{c}.nii.gz?sig=a\n" for c in CASES)
    )
    dataset = read_dataset(task_at(f"{address}/Tiny/cases.csv", cache), tmp_path, cache)
    assert dataset.channel_names == ("CT",)  # of the dataset.json beside it
    assert missing_files(dataset) == {}
    label = dataset.case("ann").label
    assert label == f"{cache}/segfw-addresses/http:/{address[7:]}/Tiny/labelsTr/ann.nii.gz"
    arrive(Path(label))
    assert Path(label).read_bytes() == (folder / "labelsTr/ann.nii.gz").read_bytes()
    assert "/Tiny/labelsTr/ann.nii.gz?sig=a" in asked


def test_http_lists_of_a_description_are_read_and_fetched(tmp_path, cache, site):
    address, _ = site
    folder = tmp_path / "here" / "Tiny"
    listed = {c: {"images": [f"imagesTr/{c}_0000.nii.gz"], "label": f"labelsTr/{c}.nii.gz"} for c in CASES}
    described = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**described, "dataset": listed}))
    dataset = read_dataset(task_at(f"{address}/Tiny", cache), tmp_path, cache)
    assert missing_files(dataset) == {}
    before = states_of(dataset.cases[0].files)
    forget()
    (folder / "labelsTr/ann.nii.gz").write_bytes(b"other")
    after = states_of(dataset.cases[0].files)
    image, label = dataset.cases[0].files
    assert (after[image], after[label].size) == (before[image], 5)
