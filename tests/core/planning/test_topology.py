"""Strides and kernels."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segfw.core.planning.topology import make_topology, padded_size


def rows(topology):
    """Write strides and kernels as digit groups, one per stage."""

    def write(table):
        return " ".join("".join(map(str, row)) for row in table)

    return write(topology.strides), write(topology.kernel_sizes)


@pytest.mark.parametrize(
    ("spacing", "size", "strides", "kernels"),
    [
        # 128 -> 64 -> 32 -> 16 -> 8 -> 4: five halvings
        ((1, 0.767578125, 0.767578125), (128, 128, 128), "111 222 222 222 222 222", "333 333 333 333 333 333"),
        # 7 mm slices wait until the planes have been halved twice (1.5625 -> 6.25); 14 of them are halved once
        ((7, 1.5625, 1.5625), (14, 256, 224), "111 122 122 222 122 122", "133 133 333 333 333 333"),
        ((3.6, 0.625, 0.625), (20, 320, 256), "111 122 122 222 222 122 122", "133 133 333 333 333 333 333"),
        ((1, 1), (56, 40), "11 22 22 22", "33 33 33 33"),
        # half of 6 is below 4: nothing to halve
        ((1, 1, 1), (6, 6, 6), "111", "333"),
        ((1, 1, 1), (10, 10, 10), "111 222", "333 333"),
        # an axis on its own is halved from 12 voxels on
        ((1, 1, 1), (12, 7, 7), "111 211", "333 333"),
        ((1, 1, 1), (11, 7, 7), "111", "333"),
    ],
)
def test_rows_follow_the_rules(spacing, size, strides, kernels):
    assert rows(make_topology(spacing, size)) == (strides, kernels)


def test_fractional_sizes_are_padded_upwards():
    assert make_topology((1.1, 1, 1), (35, 35.5, 50.5)).patch_size == (40, 40, 56)
    assert padded_size((8.0, 8.5, 1), (4, 4, 4)) == (8, 12, 4)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(1, 3000)), min_size=2, max_size=3),
)
def test_topology_is_consistent_for_any_grid(axes):
    spacing, size = zip(*axes, strict=True)
    topology = make_topology(spacing, size)
    assert len(topology.strides) == len(topology.kernel_sizes)
    assert set(topology.strides[0]) == {1}
    assert set(topology.kernel_sizes[-1]) == {3}
    for n, padded, divisor in zip(size, topology.patch_size, topology.divisor, strict=True):
        assert padded % divisor == 0
        assert padded - divisor < n <= padded
        assert divisor == 1 or padded // divisor >= 4
