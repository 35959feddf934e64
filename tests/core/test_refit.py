"""Deriving a configuration again."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.overrides import RefitGivens, apply_overrides
from segfw.core.planning import make_plan
from segfw.core.refit import refit_batch_size, refit_topology
from segfw.core.settings import PlanOverrides
from segfw.interop.nnunet import read_dataset_json, read_fingerprint
from tests.core.fingerprints import PLANNERS, dataset, fingerprints

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"
BOTH = PlanOverrides(refit=("topology", "batch_size"))


@settings(max_examples=100, deadline=None)
@given(fingerprints(), st.sampled_from(PLANNERS), st.integers(1, 2000), st.sampled_from([None, 2.0, 24.0]))
def test_refitting_what_was_planned_changes_nothing(given_fingerprint, planner, num_training, gpu_memory_gb):
    plan = make_plan(dataset(num_training), given_fingerprint, planner, gpu_memory_gb=gpu_memory_gb)
    for name, configuration in plan.configurations.items():
        same = refit_topology(plan, configuration, configuration.spacing, configuration.patch_size)
        assert same == configuration, name
        assert refit_batch_size(plan, same, num_training, gpu_memory_gb) == configuration, name


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_refitting_a_golden_plan_changes_nothing(case):
    golden = read_dataset_json(GOLDEN / case / "dataset.json")
    plan = make_plan(golden, read_fingerprint(GOLDEN / case / "dataset_fingerprint.json"))
    givens = RefitGivens(golden.num_training)
    assert apply_overrides(plan, BOTH, tuple(plan.configurations), givens) == plan
