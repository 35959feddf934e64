"""Addresses and the paths that stand for them."""

from pathlib import Path

import pytest

from segfw.core.errors import UsageError
from segfw.core.support.addresses import (
    DATA_CACHE,
    MODEL_CACHE,
    address_of,
    bare,
    cache_folder,
    cache_of,
    is_address,
    mirror_path,
    place_of,
    without_secrets,
)


def test_a_path_tells_its_address_and_its_cache():
    path = mirror_path("s3://bucket/data/la_003.nii.gz", "/cache")
    assert path == Path("/cache/segfw-addresses/s3:/bucket/data/la_003.nii.gz")
    assert address_of(path) == "s3://bucket/data/la_003.nii.gz"
    assert cache_of(path) == Path("/cache")


@pytest.mark.parametrize("text", ["/data/scan.nii.gz", "data", "s3:/bucket", "C:/data"])
def test_paths_are_no_addresses(text):
    assert not is_address(text)
    assert place_of("data_root", text, "/cache") == text
    assert address_of("/data/a:b/scan.nii.gz") is None
    assert address_of("/data/s3:/bucket/scan.nii.gz") is None  # somebody's own folder


def test_a_scheme_may_be_written_in_capitals():
    assert mirror_path("S3://Bucket/a.nii.gz", "/c") == mirror_path("s3://Bucket/a.nii.gz", "/c")
    assert place_of("data_root", "S3://Bucket/a", "/c") == "/c/segfw-addresses/s3:/Bucket/a"


@pytest.mark.parametrize(
    "text", ["s3://bucket/../../etc/passwd", "s3://bucket//a", "s3://bucket/./a", "file:///data/a", "s3://"]
)
def test_what_no_path_can_stand_for_is_refused(text):
    with pytest.raises(UsageError, match="is no address of data"):
        mirror_path(text, "/cache")


def test_secrets_are_left_out_of_paths_and_of_text():
    assert mirror_path("https://me:pass@host/a.nii.gz?Signature=abc#x", "/c") == Path(
        "/c/segfw-addresses/https:/host/a.nii.gz"
    )
    text = "403 at https://me:pass@host/a.nii.gz?Signature=abc, 'gs://b/c?d=e'"
    assert without_secrets(text) == "403 at https://host/a.nii.gz 'gs://b/c?d=e'"
    assert bare("https://me:pass@host/a b'.nii.gz?Signature=a,b c") == "https://host/a b'.nii.gz"
    assert bare("s3://bucket/scan#1?.nii.gz") == "s3://bucket/scan#1?.nii.gz"  # names of objects hold any sign


@pytest.mark.parametrize("text", ["https://me:pass@host/cases.csv", "https://host/cases.csv?Signature=pass"])
def test_settings_hold_no_secrets(text):
    with pytest.raises(UsageError, match=r"task.folder=https://host/cases.csv came with") as error:
        place_of("task.folder", text, "/cache")
    assert "pass@" not in str(error.value)
    assert "Signature" not in str(error.value)


def test_only_the_caches_that_nobody_has_named_lie_in_the_home():
    assert cache_folder(DATA_CACHE) == Path.home() / ".cache/segfw/data"
    assert cache_folder(MODEL_CACHE) == Path.home() / ".cache/segfw/models"
    assert cache_folder("~T") == Path("~T")
    assert mirror_path("s3://b/x", "~/c") == Path("~/c/segfw-addresses/s3:/b/x").absolute()
