"""Connected components of small maps whose components are plain to see."""

import numpy as np

from segfw.nn.components import label_components


def test_components_of_exclusive_labels() -> None:
    planes = np.array([[[1, 1, 0, 2], [0, 0, 2, 0], [1, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]]])[:, None]
    found = label_components(planes)
    assert found.members[:, 0].tolist() == [
        [[1, 1, 0, 3], [0, 0, 3, 0], [2, 0, 0, 0]],  # corners connect, and classes that touch stay apart
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4]],
    ]
    assert found.samples.tolist() == [0, 0, 0, 1]
    assert found.classes.tolist() == [0, 0, 1, 1]
    assert found.sizes.tolist() == [2, 1, 2, 1]


def test_components_of_regions_lie_in_planes_of_their_own() -> None:
    planes = np.zeros((1, 2, 1, 5), bool)
    planes[0, 0], planes[0, 1, 0, [0, 4]] = True, True
    found = label_components(planes)
    assert found.members[0, :, 0].tolist() == [[1, 1, 1, 1, 1], [2, 0, 0, 0, 3]]
    assert (found.classes.tolist(), found.sizes.tolist()) == ([0, 1, 1], [5, 1, 1])


def test_no_foreground_has_no_component() -> None:
    found = label_components(np.zeros((2, 1, 3, 3, 3), np.int64))
    assert not found.members.any()
    assert len(found.samples) == len(found.classes) == len(found.sizes) == 0
