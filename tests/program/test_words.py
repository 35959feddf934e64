"""What is typed is what the job gets: odd paths, arguments with and without a plus, YAML files of one's own."""

import pytest

from segfw.core.settings.verbs import PredictSettings


@pytest.mark.parametrize("plus", ["", "+", "++"])
@pytest.mark.parametrize("network", ["bayesian_unet", "unet"])
def test_arguments_of_a_network_are_given_with_or_without_a_plus(run, jobs, plus, network):
    words = (f"network={network}", f"{plus}network.arguments.dropout=0.3")
    assert run("+task=Task04", *words)[0] == 0
    assert run("+task=Task04", "-m", words[0], f"{words[1]},0.4")[0] == 0
    assert [settings.network.arguments for settings in jobs.settings] == [
        {"dropout": 0.3},
        {"dropout": 0.3},
        {"dropout": 0.4},
    ]


def test_paths_are_taken_as_they_are_typed(run, jobs):
    path = "/a b,c=d[1]{2}~#'\"$x ${y}/münchen/中\\"
    status, _, err = run("predict", f"model={path}", f"input={path}", "output=~")
    assert (status, err) == (0, "")
    assert (jobs.settings[0].model, jobs.settings[0].input, jobs.settings[0].output) == (path, path, "~")
    assert isinstance(jobs.settings[0], PredictSettings)


def test_paths_of_runs_are_taken_as_they_are_typed(run, jobs):
    assert run("compare", "runs=[a b, 'c,d', e=$f]", "output=x,y.json")[0] == 0
    assert (jobs.settings[0].runs, jobs.settings[0].output) == (("a b", "c,d", "e=$f"), "x,y.json")
    status, _, err = run("compare")
    assert (status, "compare needs runs=" in err) == (2, True)


def test_odd_output_folders_and_sweeps_with_odd_paths_work(run, jobs, tmp_path):
    root = tmp_path / "a, b=$c [d] 'e'"
    words = ["-m", "task.name=Mine", "task.folder=x,y", f"output_root={root}", "folds=0,1"]
    status, _, err = run(*words)
    assert (status, err) == (0, "")
    assert [(s.folds, s.task.folder, s.output_root, s.name) for s in jobs.settings] == [
        ((0,), "x,y", str(root), "main"), ((1,), "x,y", str(root), "main"),
    ]  # fmt: skip
    assert len(list(root.glob("Mine/sweeps/*/1/segfw.log"))) == 1


def test_yaml_files_of_the_working_folder_and_of_config_dir_are_found(run, jobs, tmp_path):
    for folder, name in (("configs", "Here"), ("else, where", "There")):
        (tmp_path / folder / "task").mkdir(parents=True)
        (tmp_path / folder / "task" / f"{name}.yaml").write_text(f"name: {name}\nfolder: {name}\n")
    assert run("+task=Here")[0] == 0
    assert run("+task=There", "--config-dir", "else, where")[0] == 0
    assert run("-m", "+task=Here,There", "--config-dir=else, where")[0] == 0
    assert [settings.task.name for settings in jobs.settings] == ["Here", "There", "Here", "There"]
