"""A packaged model comes back as it was, and anything wrong with it is told."""

import dataclasses
import pickle
import shutil
import zipfile

import pytest
import safetensors.torch
import torch
import yaml

from segfw.core.errors import ArtefactError, UsageError
from segfw.core.scoring.postprocessing import Step
from segfw.inference.bundle import Member, load_bundle, save_bundle, save_zip


def assert_same(loaded, bundle):
    for name in ("plan", "mirror_axes", "inference", "provenance", "postprocessing"):
        assert getattr(loaded, name) == getattr(bundle, name)
    assert list(loaded.plan.labels.values) == list(bundle.plan.labels.values)
    for ours, theirs in zip(loaded.members, bundle.members, strict=True):
        assert (ours.configuration, ours.fold, ours.network) == (theirs.configuration, theirs.fold, theirs.network)
        assert ours.weights.keys() == theirs.weights.keys()
        assert all(torch.equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights)


def zip_folder(folder, archive, prefix=""):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, prefix + path.name)


@pytest.fixture
def saved(bundle, tmp_path):
    save_bundle(tmp_path / "model", bundle)
    return tmp_path / "model"


def edit(saved, change):
    plain = yaml.safe_load((saved / "model.yaml").read_text())
    change(plain)
    (saved / "model.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))


def test_folder_comes_back(saved, bundle):
    assert_same(load_bundle(saved), bundle)
    assert sorted(path.suffix for path in saved.iterdir()) == [".md"] + [".safetensors"] * 3 + [".yaml"]


@pytest.mark.parametrize("prefix", ["", "main/"])
def test_zip_comes_back(saved, bundle, tmp_path, prefix):
    zip_folder(saved, tmp_path / "model.zip", prefix)
    assert_same(load_bundle(tmp_path / "model.zip"), bundle)


def test_postprocessing_comes_back_and_may_be_missing(saved, bundle):
    assert load_bundle(saved).postprocessing == ()
    steps = (Step("keep_largest", (1, 2)), Step("fill_holes", (2,), fill=2), Step("remove_small", (1,), None, 2.5))
    processed = dataclasses.replace(bundle, postprocessing=steps)
    save_bundle(saved, processed)
    assert_same(load_bundle(saved), processed)
    assert "1. of the foreground only the largest connected component is kept" in (saved / "README.md").read_text()
    edit(saved, lambda plain: plain.pop("postprocessing"))
    edit(saved, lambda plain: plain["inference"].pop("postprocessing"))
    assert_same(load_bundle(saved), bundle)


def test_saving_again_replaces_the_members(saved, bundle):
    member = Member("3d_fullres", 0, "unet", {"weight": torch.ones(2)})
    save_bundle(saved, dataclasses.replace(bundle, members=(member,)))
    assert len(list(saved.glob("*.safetensors"))) == 1
    assert load_bundle(saved).members[0].weights["weight"].tolist() == [1, 1]


def test_crash_while_saving_keeps_the_old_model(saved, bundle, monkeypatch):
    broken = dataclasses.replace(bundle.members[1], weights={"weight": "no tensor"})
    changed = Member("2d", 0, "unet", {"weight": torch.ones(2)})
    with pytest.raises(AttributeError):
        save_bundle(saved, dataclasses.replace(bundle, members=(changed, broken)))
    assert_same(load_bundle(saved), bundle)


def test_a_folder_of_runs_tells_where_the_model_is(tmp_path):
    runs, model = tmp_path / "runs" / "tiny", tmp_path / "models" / "tiny"
    runs.mkdir(parents=True)
    with pytest.raises(ArtefactError, match=f"{runs} is a folder of training runs.*will be {model}"):
        load_bundle(runs)
    model.mkdir(parents=True)
    with pytest.raises(ArtefactError, match=f"its model is {model}"):
        load_bundle(runs)


def test_no_manifest_no_model(saved, tmp_path):
    (saved / "model.yaml").unlink()
    with pytest.raises(ArtefactError, match=r"incomplete: model\.yaml is missing"):
        load_bundle(saved)
    zip_folder(saved, tmp_path / "model.zip")
    with pytest.raises(ArtefactError, match=r"model\.zip holds no model\.yaml"):
        load_bundle(tmp_path / "model.zip")
    with pytest.raises(ArtefactError, match=r"no model at .*nowhere"):
        load_bundle(tmp_path / "nowhere")


def test_missing_member_is_named(saved):
    victim = next(saved.glob("2d*"))
    victim.unlink()
    with pytest.raises(ArtefactError, match=f"{victim.name} is missing"):
        load_bundle(saved)


def test_changed_byte_is_found(saved):
    victim = next(saved.glob("2d*"))
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ArtefactError, match=rf"{victim.name} is damaged.*SHA-256"):
        load_bundle(saved)


def test_pickle_is_never_loaded(saved, bundle):
    class Payload:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    import hashlib

    victim = next(saved.glob("2d*"))
    content = pickle.dumps(Payload())
    victim.write_bytes(content)
    edit(saved, lambda plain: plain["members"][2].update(sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(ArtefactError, match="holds no safetensors"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "weights.pth", "C:x.safetensors"]
)
def test_no_path_leaves_the_folder(saved, name):
    safetensors.torch.save_file({"w": torch.ones(1)}, saved.parent / "other.safetensors")
    edit(saved, lambda plain: plain["members"][0].update(file=name))
    with pytest.raises(ArtefactError, match="files beside it, got"):
        load_bundle(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(format_version=2), "format_version 2, this segfw reads up to 1: update"),
        (lambda p: p.pop("format_version"), "format_version from 1 to 1, got None"),
        (lambda p: p.update(format_version="1"), "got '1'"),
        (lambda p: p.update(planner="default"), "unknown key 'planner', did you mean 'plan'"),
        (lambda p: p["members"][0].update(folds=1), r"'members\[0\]\.folds', did you mean 'fold'"),
        (lambda p: p["members"][0].update(fold="all"), r"members\[0\]\.fold"),
        (lambda p: p["members"][0].update(configuration="3d_lowres"), "no configuration '3d_lowres'"),
        (lambda p: p["members"].append(p["members"][0]), "each fold of a configuration once"),
        (lambda p: p.update(members=[]), "at least one member"),
        (lambda p: p["inference"].update(step_size=0), r"model\.yaml: inference\.step_size must be above 0 .*, got 0"),
        (
            lambda p: p["inference"].update(window_batch_size=0),
            "window_batch_size must be at least 1, got 0",
        ),
        (lambda p: p["inference"].update(samples=0), r"inference\.samples must be at least 2, got 0"),
        (lambda p: p["inference"].update(depth=0), r"inference\.depth must be at least 1, got 0"),
        (lambda p: p["inference"].update(depth=-3), r"inference\.depth must be at least 1, got -3"),
        (lambda p: p["members"][0].update(fold=-1), r"members\[0\]\.fold must be at least 0, or full, got -1"),
        (lambda p: p["members"][1].update(network="foo"), r"members\[1\]: network must be 'planned' or .*, got 'foo'"),
        (lambda p: p["members"][1].update(arguments={"a": 1}), r"members\[1\]: network\.arguments: unet takes none"),
        (
            lambda p: p["plan"]["configurations"]["2d"].update(n_conv_per_stage=[10**6, 1]),
            r"model\.yaml: plan: configurations\.2d\.n_conv_per_stage must be between 1 and 1000",
        ),
        (lambda p: p["plan"].pop("labels"), r"missing key 'plan\.labels'"),
        (lambda p: p["plan"]["labels"]["values"].update(background=1), "background"),
        (
            lambda p: p.update(postprocessing=[{"operation": "erode", "values": [1]}]),
            r"model\.yaml: postprocessing\[0\]\.operation must be one of .*got 'erode'",
        ),
        (
            lambda p: p.update(postprocessing=[{"operation": "keep_largest", "values": [1, 3]}]),
            r"model\.yaml: postprocessing\[0\]\.values: \[3\] are no label values; there are \[1, 2\]",
        ),
    ],
)
def test_wrong_manifest_is_explained(saved, change, message):
    edit(saved, change)
    with pytest.raises(ArtefactError, match=message):
        load_bundle(saved)


def keep(saved, bundle, *configurations):
    """Save the members of these configurations alone."""
    kept = tuple(member for member in bundle.members if member.configuration in configurations)
    save_bundle(saved, dataclasses.replace(bundle, members=kept))


def test_members_of_some_folds_are_read_alone(saved, bundle):
    keep(saved, bundle, "3d_fullres")
    assert [member.fold for member in load_bundle(saved, (0,)).members] == [0]
    assert [member.fold for member in load_bundle(saved, ("full", 0)).members] == [0, "full"]
    for victim in saved.glob("3d_fullres_fold_full*"):
        victim.unlink()
    assert [member.fold for member in load_bundle(saved, (0,)).members] == [0]
    with pytest.raises(ArtefactError, match=r"fold_full.*is missing"):
        load_bundle(saved)


def test_a_model_remembers_which_folds_predict_and_keeps_the_others(saved, bundle):
    keep(saved, bundle, "3d_fullres")
    whole = load_bundle(saved)
    save_bundle(saved, dataclasses.replace(whole, inference=dataclasses.replace(whole.inference, folds=("full",))))

    def folds(**given):
        return [member.fold for member in load_bundle(saved, **given).members]

    assert folds() == ["full"]
    assert folds(folds=(0,)) == [0]
    assert folds(every_member=True) == [0, "full"]
    assert load_bundle(saved, every_member=True).inference.folds == ("full",)
    with pytest.raises(
        UsageError, match=r"inference\.folds: the model has no fold 4; its folds are 3d_fullres: 0, full"
    ):
        dataclasses.replace(whole, inference=dataclasses.replace(whole.inference, folds=(4,)))


@pytest.mark.parametrize(("folds", "missing"), [((4,), "4"), ((0, 3), "0"), (("full",), "full")])
def test_a_fold_that_is_not_there_names_those_that_are(saved, folds, missing):
    message = rf"inference\.folds: the model has no fold {missing};? .*3d_fullres: 0, full; 2d: 3"
    with pytest.raises(UsageError, match=message):
        load_bundle(saved, folds)


def test_one_file_to_share_is_the_same_model_and_the_same_bytes(saved, bundle, tmp_path):
    save_zip(tmp_path / "one.zip", saved)
    assert_same(load_bundle(tmp_path / "one.zip"), bundle)
    save_zip(tmp_path / "two.zip", tmp_path / "one.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist()[:2] == ["model.yaml", "README.md"]


def test_a_model_that_is_not_whole_is_not_shared(saved, tmp_path):
    next(saved.glob("2d*")).unlink()
    with pytest.raises(ArtefactError, match="is missing"):
        save_zip(tmp_path / "one.zip", saved)
    assert list(tmp_path.glob("*.zip")) == []


def test_broken_zip(saved, tmp_path):
    archive = tmp_path / "model.zip"
    zip_folder(saved, archive)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtefactError, match=r"model\.zip is no \.zip"):
        load_bundle(archive)
    archive.write_bytes(content.replace(b"dataset_name: D", b"dataset_name: E", 1))
    with pytest.raises(ArtefactError, match=r"model\.zip is damaged: model\.yaml cannot be read: Bad CRC"):
        load_bundle(archive)


def test_model_does_not_tell_where_it_was_made(saved):
    text = (saved / "model.yaml").read_text()
    assert str(saved.parent) not in text
    shutil.move(saved, saved.with_name("elsewhere"))
    assert load_bundle(saved.with_name("elsewhere")).members


def test_contradictions_are_refused_before_saving(bundle):
    with pytest.raises(UsageError, match="at least one member"):
        dataclasses.replace(bundle, members=())
    with pytest.raises(UsageError, match="no configuration 'x'"):
        dataclasses.replace(bundle, members=(dataclasses.replace(bundle.members[0], configuration="x"),))
