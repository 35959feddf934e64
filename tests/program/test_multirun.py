"""The jobs of a command with -m: their names, what they know of one another, and what is told when some fail."""

import pytest

from segfw.core.errors import DataError, UsageError


def test_jobs_of_a_sweep_have_names_of_their_own_unless_only_folds_vary(run, jobs):
    assert run("-m", "+task=Task04", "folds=0,1", "optimizer.lr=0.1,0.2")[0] == 0
    names = [settings.name for settings in jobs.settings]
    assert len(set(names)) == 2
    assert all(name.startswith("main_") and len(name) == len("main_") + 8 for name in names)
    rates = {(settings.name, settings.optimizer.lr) for settings in jobs.settings}
    assert len(rates) == 2


@pytest.mark.parametrize(
    ("words", "folds", "configurations"),
    [
        (("folds=0,1",), ((0,), (1,)), ("auto",)),
        (("folds=[0,1]", "configurations=2d,[3d_fullres]"), ((0, 1),), (("2d",), ("3d_fullres",))),
        (("seed=1,2",), ("cv",), ("auto",)),
    ],
)
def test_a_job_of_a_sweep_knows_what_the_others_train(run, jobs, tmp_path, words, folds, configurations):
    assert run("-m", "+task=Task04", *words)[0] == 0
    told = jobs.multiruns
    assert [(each.folds, each.configurations, each.at_once) for each in told] == [(folds, configurations, 1)] * 2
    assert not list(tmp_path.glob("outputs/*/.locks/*"))
    assert run("+task=Task04")[0] == 0
    assert told[-1] is None


def test_a_failed_job_of_a_sweep_does_not_stop_the_others(run, jobs):
    def fail(settings):
        if settings.folds == (0,):
            raise DataError("fold 0 is broken")

    jobs.act = fail
    status, _, err = run("-m", "+task=Task04", "folds=0,1")
    assert status == 1
    assert "segfw: fold 0 is broken\n" in err
    assert "Traceback" not in err
    assert len(jobs.settings) == 2
    assert "segfw: 1 of 2 jobs are not done:\n  job 0 (folds=0): fold 0 is broken; log " in err
    assert "name=main: python -m segfw +task=Task04 name=main 'stages=[select,report]'" in err


def test_jobs_that_are_all_wrong_have_status_2(run, jobs):
    def refuse(settings):
        raise UsageError(f"there is no fold {settings.folds[0]}")

    jobs.act = refuse
    status, _, err = run("-m", "+task=Task04", "folds=1,2")
    assert status == 2
    assert "  job 1 (folds=2): there is no fold 2; log " in err
