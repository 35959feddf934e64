"""The drawing of a network says what the plan says, and keeps its parts apart."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from segfw.interop.nnunet import read_plans
from segfw.tracking.figures import PAGE, PAPER, to_svg
from segfw.tracking.topology import topology_figure
from tests.tracking.contents import CONFIGURATION

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_names_every_part_of_the_network():
    said = words(topology_figure(CONFIGURATION, 2, 3, PAPER))
    assert said.count("32×64×64") == said.count("32 features") == 2  # encoder and decoder
    assert said.count("16×16×16") == said.count("128 features") == 1  # the bottleneck
    assert said.count("stride 1×2×2") == said.count("stride 2×2×2") == 2  # down and up
    assert said.count("2 convs 3×3×3") == 5
    assert said.count("2 input channels") == said.count("3 output maps") == 1


def test_residual_blocks_and_a_cascade_are_told():
    counts = {"n_conv_per_stage": (1, 3, 4), "n_conv_per_stage_decoder": (1, 2)}
    residual = replace(CONFIGURATION, architecture="residual_unet", previous_stage="3d_lowres", **counts)
    said = words(topology_figure(residual, 1, 1, PAPER))
    assert {"1 residual block 3×3×3", "3 residual blocks 3×3×3", "4 residual blocks 3×3×3"} <= set(said)
    # the decoder's list begins at the bottleneck: one convolution below, two above
    assert (said.count("1 conv 3×3×3"), said.count("2 convs 3×3×3")) == (1, 1)
    assert "1 input channel and the segmentation of 3d_lowres" in said


def test_a_network_of_one_stage_has_ends_side_by_side():
    one_stage = {"strides": ((1, 1, 1),), "kernel_sizes": ((3, 3, 3),), "features_per_stage": (8,)}
    single = replace(CONFIGURATION, **one_stage, n_conv_per_stage=(2,), n_conv_per_stage_decoder=())
    ends = {text.get_text(): text.get_position() for text in topology_figure(single, 1, 2, PAPER).axes[0].texts[-2:]}
    assert ends["1 input channel"][0] < ends["2 output maps"][0]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("hippocampus/plans_default.json", "2d"),
        ("hippocampus/plans_ResEncL.json", "3d_fullres"),
        ("case038/plans_ResEncL.json", "3d_cascade_fullres"),
        ("case018/plans_default.json", "3d_fullres"),
        ("case044/plans_default.json", "2d"),
    ],
)
def test_no_text_meets_another_or_the_edge(file, name):
    figure = topology_figure(read_plans(GOLDEN / file).configuration(name), 4, 100, PAPER)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in figure.axes[0].texts}
    assert all(figure.bbox.x0 <= b.x0 and b.x1 <= figure.bbox.x1 and b.y0 >= 0 for b in boxes.values())
    assert not [(a, b) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]


def test_the_largest_network_is_a_small_drawing():
    largest = read_plans(GOLDEN / "case018" / "plans_ResEncXL.json").configuration("3d_fullres")
    assert len(to_svg(topology_figure(largest, 1, 2, PAGE), "large", "a network")) < 60_000
