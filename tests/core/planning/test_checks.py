"""Plans whose networks or patches no machine holds are refused at once; what the rules make never is."""

from dataclasses import replace

import pytest

from segfw.core.errors import UsageError
from segfw.core.planning.checks import MOST_STAGES, check_configuration
from tests.core.test_plan import GOOD


def stacked(stages):
    """Make a configuration of so many stages, none of which pools."""
    return replace(
        GOOD, strides=((1, 1, 1),) * stages, kernel_sizes=((3, 3, 3),) * stages, features_per_stage=(8,) * stages,
        n_conv_per_stage=(1,) * stages, n_conv_per_stage_decoder=(1,) * (stages - 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_conv_per_stage": (10**6, 2)}, r"n_conv_per_stage must be between 1 and 1000, got \(1000000, 2\)"),
        ({"n_conv_per_stage": (600, 401)}, r"n_conv_per_stage must be at most 1000 in all, got 1001 in \(600, 401\)"),
        ({"n_conv_per_stage_decoder": (1001,)}, "n_conv_per_stage_decoder must be between 1 and 1000"),
        (
            {"patch_size": (10**9,) * 3},
            r"patch_size must have at most 1073741824 voxels, got .* has 10{27}",
        ),
        ({"patch_size": (1026, 1024, 1024)}, "patch_size must have at most 1073741824 voxels"),
        ({"patch_size": (2**32, 2, 2)}, "patch_size must be between 1 and 2147483647"),
        ({"features_per_stage": (8, 65537)}, r"features_per_stage must be between 1 and 65536, got \(8, 65537\)"),
        ({"kernel_sizes": ((3, 3, 3), (3, 3, 33))}, r"kernel_sizes must be between 1 and 31, got .*33"),
    ],
)
def test_what_no_machine_holds_is_refused(change, message):
    with pytest.raises(UsageError, match=rf"^here\.{message}"):
        check_configuration(replace(GOOD, **change), 1, "here")


@pytest.mark.parametrize(
    ("key", "large", "too_large"),
    [
        ("n_conv_per_stage", (600, 400), (600, 401)),
        ("patch_size", (1024, 1024, 1024), (1024, 1024, 1026)),
        ("features_per_stage", (8, 65536), (8, 65537)),
        ("batch_size", 2**31 - 1, 2**31),
    ],
)
def test_what_is_merely_large_is_left_to_its_author(key, large, too_large):
    check_configuration(replace(GOOD, **{key: large}), 1, "here")
    with pytest.raises(UsageError, match=rf"^here\.{key} must"):
        check_configuration(replace(GOOD, **{key: too_large}), 1, "here")


def test_stages_are_counted():
    check_configuration(stacked(MOST_STAGES), 1, "here")
    with pytest.raises(UsageError, match=r"^here\.strides must have at most 64 rows, one per stage, got 65"):
        check_configuration(stacked(MOST_STAGES + 1), 1, "here")
