"""What verb `init` refuses, by name and before anything is written."""

import re
from pathlib import Path

import numpy as np
import pytest

import segfw.__main__ as program
from segfw.config import config_folder
from segfw.core.errors import DataError, UsageError
from tests.stages.dataset.two_folders import run, two_folders, volume, write

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_no_pair_shows_three_of_each(capsys):
    for name in "abcd":
        write(f"img/scan{name}.nii.gz", volume())
        write(f"seg/other{name.upper()}.nii.gz", volume())
    expected = (
        "no image and label map pair by name; a label map has its image's name, but for a beginning or end that all "
        "share (case1_img and case1_seg); or write the pairs into a CSV with the columns case,image,label "
        "(image_T1,image_T2 for channels) and give it instead of a task file: task.name=Mine task.folder=FILE.csv "
        "'task.labels={background: 0, NAME: VALUE}'\n"
        "  4 images in img: scana, scanb, scanc, ...\n"
        "  4 label maps in seg: otherA, otherB, otherC, ..."
    )
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        run(capsys)
    with pytest.raises(DataError, match="in one folder, label maps have a word such as seg, label or mask"):
        run(capsys, labels="img")


def test_names_that_pair_in_two_ways_tell_how_to_list_the_pairs(capsys):
    for case in ("a1", "a2"):
        write(f"img/{case}.nii.gz", volume())
        for kind in ("liver", "tumor"):
            write(f"seg/{case}_{kind}.nii.gz", volume(1))
    with pytest.raises(DataError, match=r"all 2 images and 4 label maps; two rules pair 2(.|\n)*case,image,label"):
        run(capsys)


def test_every_unreadable_label_map_is_named_and_nothing_written(capsys):
    two_folders(("p1", "p2", "p3"))
    for case in ("p1", "p3"):
        Path(f"seg/{case}_seg.nii.gz").write_bytes(b"nothing")
    with pytest.raises(
        DataError,
        match=r"2 of 3 cases cannot be read(.|\n)*p1: .*p1_seg(.|\n)*p3: .*p3_seg",
    ):
        run(capsys)
    assert not Path("configs").exists()


def test_every_unreadable_image_is_named_and_nothing_written(capsys):
    two_folders(("p1", "p2", "p3"))
    Path("seg/p3_seg.nii.gz").write_bytes(b"nothing")
    for case in ("p2", "p3"):
        Path(f"img/{case}_img.nii.gz").write_bytes(b"nothing")
    with pytest.raises(
        DataError,
        match=r"2 of 3 cases cannot be read(.|\n)*p2: .*p2_img(.|\n)*p3: .*p3_img.*; .*p3_seg",
    ):
        run(capsys)
    assert not Path("configs").exists()


def test_an_image_that_lacks_its_last_voxels_is_named(capsys):
    two_folders(("p1", "p2", "p3"))
    for case in ("p1", "p2", "p3"):
        Path(f"img/{case}_img.nii.gz").unlink()
        write(Path(f"img/{case}_img.mha"), volume(1, 2))
    cut = Path("img/p2_img.mha")
    cut.write_bytes(cut.read_bytes()[:-3])
    with pytest.raises(
        DataError,
        match=r"1 of 3 cases cannot be read(.|\n)*p2: cannot read .*p2_img\.mha: .* is truncated",
    ):
        run(capsys)
    assert not Path("configs").exists()


@pytest.mark.parametrize("values", [range(70), (0, 1200), (-1000, 40)])
def test_swapped_folders_are_asked_about(capsys, values):
    for case in ("p1", "p2"):
        write(f"img/{case}.nii.gz", np.resize(np.array(values, np.int16), (2, 5, 7)))
        write(f"seg/{case}.nii.gz", volume(1, 2))
    with pytest.raises(UsageError, match=rf"hold {len(values)} values from .*only 3; are .* swapped\?"):
        run(capsys, images="seg", labels="img")
    assert not Path("configs").exists()


def test_label_maps_of_fractions_are_told_once_and_asked_about(capsys, caplog):
    for case in ("p1", "p2"):
        write(f"img/{case}.nii.gz", volume().astype(np.float32) + np.float32(0.5))
        write(f"seg/{case}.nii.gz", volume(1, 2))
    with pytest.raises(DataError, match=r"2 of 2 cases cannot be read(.|\n)*p2: (.|\n)*labels= swapped\?$"):
        run(capsys, images="seg", labels="img")
    assert "p2" not in caplog.text
    write("img/p1.nii.gz", volume(1))
    with pytest.raises(DataError, match=r"1 of 2 cases(.|\n)*mend or remove these files$"):
        run(capsys, images="seg", labels="img")


def test_label_maps_of_nothing_are_refused(capsys):
    two_folders(values=())
    with pytest.raises(DataError, match="label maps in seg hold nothing but 0"):
        run(capsys)


def test_a_task_file_is_replaced_only_on_demand(capsys):
    two_folders()
    run(capsys)
    with pytest.raises(UsageError, match=r"configs/task/Mine.yaml exists; .* overwrite=true"):
        run(capsys)
    Path("configs/task/Mine.yaml").write_text("# mine")
    assert run(capsys, overwrite=True)[0]["name"] == "Mine"


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "1", "null", "True", "a,b", "a=b", " a", "a ", "it's", "Größe", "a."]
)
def test_names_that_are_no_word_for_a_task_are_refused(capsys, name):
    with pytest.raises(UsageError, match=re.escape(f"got {name!r}")):
        run(capsys, name=name)


@pytest.mark.parametrize("name", ["Task01", "Task10", "Demo"])
def test_packaged_tasks_keep_their_names(capsys, name):
    with pytest.raises(UsageError, match=f"segfw brings a task {name}"):
        run(capsys, name=name, overwrite=True)


def test_packaged_tasks_keep_their_names_in_their_own_folder_too(capsys):
    with pytest.raises(UsageError, match="segfw brings a task Task04"):
        run(capsys, name="Task04", config_dir=str(config_folder()), overwrite=True)


def test_an_unknown_modality_names_the_nearest(capsys):
    with pytest.raises(UsageError, match="modality: unknown modality 'MRJ', did you mean"):
        run(capsys, modality="MRJ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["images=img", "labels=seg"], "init needs name=, as in: python -m segfw init images=DIR"),
        (["image=img"], "unknown key 'image', did you mean 'images'?"),
        (["images=a", "labels=b", "nam=c"], "unknown key 'nam', did you mean 'name'?"),
        (["+modalty=CT"], "unknown key 'modalty', did you mean 'modality'?"),
        (["images=a", "labels=b", "name=c", "workers=-1"], "workers must be between 0 and 1024, got -1"),
        (["images=a", "labels=b", "name=c", "overwrite=7"], "overwrite must be true or false, got 7"),
    ],
)
def test_wrong_command_lines_end_with_2(capsys, words, message):
    assert program.main(["init", *words]) == 2
    assert message in capsys.readouterr().err
