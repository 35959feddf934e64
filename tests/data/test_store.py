"""What is saved comes back, mapped; what is incomplete or damaged is refused by name."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.imaging.preprocessing import PreprocessedCase
from segfw.data import store as store_module
from segfw.data.case_files import commit_store, save_case, saved_cases
from segfw.data.store import Store
from tests.data.conftest import make_case


def test_round_trip(store: Store) -> None:
    case = make_case((7, 9, 9), 1)
    assert store.cases == ("case_0", "case_1", "case_2")
    assert store.description == {"spacing": [1.0, 1.0, 2.0]}
    np.testing.assert_array_equal(store.image("case_1"), case.image)
    np.testing.assert_array_equal(store.label("case_1"), case.label)
    assert store.image("case_1").dtype == np.float32
    assert store.label("case_1").dtype == np.int8
    assert store.record("case_1") == case.record
    assert list(store.locations("case_1")) == [(1,), (2,)]
    for key, voxels in case.locations.items():
        np.testing.assert_array_equal(store.locations("case_1")[key], voxels)
        assert store.locations("case_1")[key].dtype == np.int32


def test_labels_above_127_are_int16(tmp_path: Path) -> None:
    case = make_case((5, 8, 8))
    label = np.where(case.label == 2, 200, case.label).astype(np.int16)
    save_case(tmp_path, "a", PreprocessedCase(case.image, label, {(200,): np.arange(0)}, case.record))
    commit_store(tmp_path, {})
    opened = Store.open(tmp_path)
    assert opened.label("a").dtype == np.int16
    assert opened.label("a").max() == 200
    assert opened.locations("a")[(200,)].size == 0


def test_case_without_label(tmp_path: Path) -> None:
    case = make_case((5, 8, 8))
    save_case(tmp_path, "a", PreprocessedCase(case.image, None, {}, case.record))
    commit_store(tmp_path, {})
    with pytest.raises(ArtefactError, match="'a' has no label map"):
        Store.open(tmp_path).label("a")


def test_pickled_store_maps_anew(store: Store) -> None:
    before = store.image("case_0")
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 5000
    np.testing.assert_array_equal(copy.image("case_0"), before)


def test_few_cases_stay_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "OPEN_CASES", 2)
    first = store.case("case_0")
    store.case("case_1")
    assert store.case("case_0") is first
    store.case("case_2")
    assert store.case("case_0") is first
    assert len(store._open) == 2


def test_mapped_arrays_are_read_only(store: Store) -> None:
    with pytest.raises(ValueError, match="read-only"):
        store.image("case_0")[:] = 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files where the system lists them")
def test_mapped_arrays_keep_no_file_open(store: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    cases = [store.case(name) for name in store.cases]
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(case.image.size for case in cases)


def test_unknown_case(store: Store) -> None:
    with pytest.raises(UsageError, match="no case 'case_9'; it has 3"):
        store.image("case_9")


def test_store_without_manifest(store: Store) -> None:
    (store.folder / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match=r"no manifest\.json"):
        Store.open(store.folder)


@pytest.mark.parametrize("member", ["image.npy", "label.npy", "locations.npy", "record.json"])
def test_missing_member_is_named(store: Store, member: str) -> None:
    (store.folder / f"case_1.{member}").unlink()
    with pytest.raises(ArtefactError, match=rf"case_1\.{member} is missing"):
        Store.open(store.folder)
    assert saved_cases(store.folder) == {"case_0", "case_2"}


def test_truncated_member_is_named(store: Store) -> None:
    path = store.folder / "case_2.image.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ArtefactError, match=r"case_2\.image\.npy has \d+ bytes instead of \d+"):
        Store.open(store.folder)
    assert "case_2" not in saved_cases(store.folder)


def test_check_finds_changed_bytes(store: Store) -> None:
    store.check()
    path = store.folder / "case_2.image.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"case_2\.image\.npy has SHA-256"):
        Store.open(store.folder).check()


def test_newer_format_is_refused(store: Store) -> None:
    path = store.folder / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ArtefactError, match="format 99, this version reads 1"):
        Store.open(store.folder)


def test_saving_again_uncommits(store: Store) -> None:
    save_case(store.folder, "case_0", make_case((5, 8, 8)))
    with pytest.raises(ArtefactError, match="not complete"):
        Store.open(store.folder)
    assert saved_cases(store.folder) == set(store.cases)


def test_interrupted_case_does_not_count(tmp_path: Path) -> None:
    assert saved_cases(tmp_path / "absent") == set()
    save_case(tmp_path, "a", make_case((5, 8, 8)))
    save_case(tmp_path, "b", make_case((5, 8, 8)))
    (tmp_path / "b.record.json").unlink()
    assert saved_cases(tmp_path) == {"a"}
    commit_store(tmp_path, {})
    assert Store.open(tmp_path).cases == ("a",)
