"""What is no `model.yaml`, or would do harm in being read, is refused; `test_bundle` has what a model's may not say."""

from itertools import pairwise
from pathlib import Path

import pytest

from segfw.core.errors import ArtefactError
from segfw.inference.bundle import save_bundle
from segfw.inference.model_manifest import check_member_file, read_manifest

MODEL = Path("mine.zip")


def test_it_says_what_was_saved(bundle, tmp_path):
    save_bundle(tmp_path, bundle)
    manifest = read_manifest(tmp_path, (tmp_path / "model.yaml").read_bytes())
    assert (manifest.format_version, manifest.plan, manifest.provenance) == (1, bundle.plan, bundle.provenance)
    assert [(entry.configuration, entry.fold) for entry in manifest.members] == [
        (member.configuration, member.fold) for member in bundle.members
    ]


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_manifest_of_another_kind(text):
    with pytest.raises(ArtefactError, match=r"mine\.zip: model\.yaml"):
        read_manifest(MODEL, text.encode())


def test_bytes_that_are_no_text_are_no_manifest():
    with pytest.raises(ArtefactError, match=r"mine\.zip: model\.yaml is no YAML: .*0xff"):
        read_manifest(MODEL, b"a: \xff")


def test_python_objects_in_yaml_are_refused():
    with pytest.raises(ArtefactError, match="no YAML"):
        read_manifest(MODEL, b"format_version: !!python/object/apply:os.getpid []\n")


def test_a_manifest_that_blows_itself_up_is_refused():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefg")]
    with pytest.raises(ArtefactError, match="more than 200000 values"):
        read_manifest(MODEL, "\n".join(lines).encode())


def test_a_key_given_twice_is_refused():
    with pytest.raises(ArtefactError, match="'format_version' is given twice"):
        read_manifest(MODEL, b"format_version: 1\nformat_version: 1\n")


@pytest.mark.parametrize("name", ["2d_fold_0.pth", ".hidden.safetensors", "a/b.safetensors", "a\\b.safetensors"])
def test_a_file_that_is_not_one_of_weights_beside_it_is_refused(name):
    check_member_file(MODEL, "2d_fold_0-1a2b3c4d.safetensors")
    with pytest.raises(ArtefactError, match=r"mine\.zip: model\.yaml must name \.safetensors files beside it, got"):
        check_member_file(MODEL, name)
