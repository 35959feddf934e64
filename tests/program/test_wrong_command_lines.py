"""Wrong command lines and task files end with status 2 and one line that says what is allowed."""

from pathlib import Path

import pytest

MISSPELT = "unknown key 'trainer.max_epoch', did you mean 'trainer.max_epochs'?"
SLURM = ("+task=Task04", "folds=0,1", "hydra/launcher=submitit_slurm")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+task=Task04", "trainer.max_epoch=3"], MISSPELT),
        (["+task=Task04", "+trainer.max_epoch=3"], MISSPELT),
        (["+task=Task04", "++trainer.max_epoch=3"], MISSPELT),
        (
            ["+task=Task04", "trainer=nnUNetTrainer_100epochs"],
            "trainer is a node, whose keys have values, trainer.max_epochs, trainer.max_time, "
            "trainer.limit_train_batches, ...; it has none itself, got 'nnUNetTrainer_100epochs'",
        ),
        (["+task=Task04", "++split=null"], "split is a node, whose keys have values, split.kind, split.num_folds, "),
        (["+task=Task04", "-m", "verify=true,false"], "verify.tolerance, verify.fix; it has none itself, got 'true,f"),
        (["predict", "model=a", "input=b", "output=c", "inference=fast"], "inference.step_size, inference.mirror, "),
        (
            ["+task=Task04", "configurations=[2d,3d_fullres]", "plan.patch_size=[64,64,64]"],
            "plan.patch_size: 2d has 2 axes, got 3 values: [64, 64, 64]; choose configurations=[3d_fullres]",
        ),
        (["+task=Task04", "configurations=2d", "plan.strides=[[1,1,1]]"], "; choose configurations=[3d_fullres]"),
        (["task=Task04"], "write it with a plus: +task=Task04"),
        (["+task=Demo", "+debug=fdr"], "debug has a default that is replaced; write it without the plus: debug=fdr"),
        (["+task=Task4"], "unknown task 'Task4', did you mean 'Task04'? There are Demo, Task01, Task02"),
        (["+task=Task04", "planner=resenc"], "unknown planner 'resenc'"),
        (["+task=Task04", "+planner=resenc_m"], "write it without the plus: planner=resenc_m"),
        (["+task=Task04", "+seed=3"], "'seed=3'"),
        ([], "no task given"),
        (["+task=Task04", "folds=all"], "folds=full"),
        (["+task=Task04", "folds=0,1"], "add -m"),
        (["+task=Task04", "-m", "folds=all,0"], "folds=full"),
        (["+task=Task04", "-m", "planner=default,nope"], "unknown planner 'nope'"),
        (["+task=Task04", "trainer.max_epochs=[1"], "trainer.max_epochs"),
        (["+task=Task04", "folds"], "cannot read 'folds'"),
        (["+task=Task04", "stages=[plan,trian]"], "unknown stage 'trian', did you mean 'train'?"),
        (["+task=Task04", "seed=${nope}"], "nope"),
        (["+task=Task04", "output_root=${nope}"], "output_root must not hold '${'"),
        (["+task=Task04", "--config-dir", "nowhere"], "there is no folder 'nowhere'"),
        (["trian"], "unknown verb 'trian'"),
        (["predict", "model=a"], "predict needs input= and output="),
        (["predict", "model=a", "input=b", "output=c", "trainer.max_epochs=1"], "unknown key 'trainer.max_epochs'"),
        (["predict", "model=a", "input=b", "output=c", "inference.folds=all"], "or full, got 'all'"),
        (
            ["+task=Task04", "split.num_folds=4", "inference.folds=[0,4]"],
            "inference.folds must lie between 0 and 3 (split",
        ),
        (["predict", "model=a", "input=b", "output=c", "model_sha256=12ab"], "64 hexadecimal digits, got '12ab'"),
        (
            ["predict", "model=a", "input=b", "output=c", "inference.output_format=tiff"],
            "output_format must be one of ['nii.gz', 'nii', 'nrrd', 'mha', 'tif', 'png', 'dicom_seg'], got 'tiff'",
        ),
        (["export", "model=a", "format=tar", "output=b"], "format must be one of ['zip', 'onnx', 'nnunet']"),
        (["export", "model=a"], "export needs format= and output="),
        (["+task=Task04", "pretrained.on_mismatch=warn"], "must be one of ['error', 'adapt', 'skip'], got 'warn'"),
        (["evaluate"], "evaluate needs predictions= and references="),
        (["-m", *SLURM, "hydra.launcher.partitoin=gpu"], "unknown key 'hydra.launcher.partitoin', did you mean 'parti"),
        (["-m", *SLURM, "+hydra.launcher.gpu=1"], "unknown key 'hydra.launcher.gpu'"),
        (["-m", *SLURM, "hydra.launcher.timeout_min=long"], "hydra.launcher.timeout_min=long: Value 'long' of type"),
        (["-m", *SLURM, "hydra.launcher.array_parallelism=0"], "array_parallelism must be 1 or more, got 0"),
        (["-m", "+task=Task04", "folds=0,9,nine"], "got 'nine'"),
        (["+task=Task04", "name=über"], """'name=über': 'ü' can only stand in quotes; write 'name='"'"'über'"'"''"""),
        (["+task=Task04", "name=a b/ü"], "'ü' can only stand in quotes; write "),
        (["+task=Task04", "tags=[a,ü]"], "'ü' can only stand in quotes; quote the text that holds it"),
        (["+task=Task04", "nämé=3"], "a key cannot hold 'ä'"),
        (["+task=Task04", "name='über"], '"\'" can only stand in quotes'),
    ],
)
def test_a_wrong_command_line_is_explained_in_one_line_with_status_2(run, jobs, tmp_path, words, message):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("segfw: ")
    assert len(err.splitlines()) == 1
    assert jobs.settings == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: M\nchanels: [CT]\n", "task/Own.yaml: unknown key 'task.chanels', did you mean 'task.channels'?"),
        ("name: [M\n", "a file of the configuration is no YAML: while parsing"),
        ("name: !!map 1\n", "a file of the configuration is no YAML: a value cannot be built: ValueError: not enough"),
        ("name: !!bool x\n", "a value cannot be built: KeyError: 'x' in "),
        ("- a\n", "task/Own.yaml must hold key: value lines, got a list"),
    ],
)
def test_a_wrong_task_file_is_told_by_its_name(run, jobs, content, message):
    Path("configs/task").mkdir(parents=True)
    Path("configs/task/Own.yaml").write_text(content)
    status, _, err = run("+task=Own")
    assert (status, message in err) == (2, True), err


@pytest.mark.parametrize("group", ["experiment", "debug", "hparams_search"])
def test_a_recipe_without_its_first_line_is_told_to_lack_it(run, jobs, group):
    path = Path(f"configs/{group}/mine.yaml")
    path.parent.mkdir(parents=True)
    path.write_text("trainer:\n  max_epochs: 3\n")
    status, _, err = run("+task=Task04", f"{group}=mine")
    assert (status, f"segfw: {group}/mine.yaml lacks the first line `# @package _global_`, or has a key" in err) == (
        2,
        1,
    )
    path.write_text(f"# @package _global_\n{path.read_text()}")
    assert run("+task=Task04", f"{group}=mine")[0] == 0
    assert jobs.settings[0].trainer.max_epochs == 3


@pytest.mark.parametrize("tags", ["[a,a]", "['']", "['a,b']", "[1]", "word"])
def test_tags_are_words(run, jobs, tags):
    status, _, err = run("+task=Task04", f"tags={tags}")
    assert (status, "tags" in err) == (2, True)
