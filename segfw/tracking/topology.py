"""The network as the U it is named after: what each stage sees, how wide it is, and how stages are joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segfw.core.plan import Configuration
from segfw.core.planning.memory import stage_sizes
from segfw.core.planning.topology import widened_kernel
from segfw.core.support.words import by, counted
from segfw.core.types import Shape
from segfw.tracking.figures import Palette

WIDTH, PITCH, TOP, BOTTOM = 10.0, 0.8, 0.42, 0.32
BOX_WIDTH, BOX_HEIGHT = 1.62, 0.46
OUTER, INNER, MOST_LEAN = 2.5, 3.75, 0.5
"""Inches from the left edge to the middle of the first and of the last encoder box above the bottleneck; and the most
that a box may stand farther in than the one above, so that an arrow straight down meets both."""
BLOCKS = {"residual_unet": "residual block"}
"""What a stage is counted in, where not in convolutions."""


@dataclass(frozen=True)
class _Place:
    """Where a stage stands on the drawing: the middle of its box, inches from the lower left corner."""

    x: float
    y: float

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of the lower edge."""
        return self.x, self.y - BOX_HEIGHT / 2

    @property
    def top(self) -> tuple[float, float]:
        """The middle of the upper edge."""
        return self.x, self.y + BOX_HEIGHT / 2

    def side(self, sign: int) -> tuple[float, float]:
        """Return the middle of the left (-1) or right (1) edge."""
        return self.x + sign * BOX_WIDTH / 2, self.y


def topology_figure(configuration: Configuration, num_channels: int, num_heads: int, palette: Palette) -> Figure:
    """Draw the U of `configuration`: feature maps and features in the boxes, convolutions beside, strides between."""
    sizes, features = stage_sizes(configuration.patch_size, configuration.strides), configuration.features_per_stage
    height = TOP + BOTTOM + PITCH * (len(sizes) - 1) + BOX_HEIGHT
    figure = Figure(figsize=(WIDTH, height), facecolor=palette.background)
    panel = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    panel.set_axis_off()
    panel.set_xlim(0, WIDTH)
    panel.set_ylim(0, height)
    down, up = _places(len(sizes), height)
    for level, (size, width) in enumerate(zip(sizes, features, strict=True)):
        kernel, count = configuration.kernel_sizes[level], configuration.n_conv_per_stage[level]
        if configuration.architecture == "vnet":
            kernel = widened_kernel(kernel)
        beside = _layers(count, BLOCKS.get(configuration.architecture, "conv"), kernel)
        _stage(panel, palette, down[level], size, width)
        if level < len(up):
            decoders = configuration.n_conv_per_stage_decoder[len(up) - 1 - level]
            _stage(panel, palette, up[level], size, width)
            _text(panel, palette, down[level].side(-1), beside, -1)
            _text(panel, palette, up[level].side(1), _layers(decoders, "conv", kernel), 1)
            _arrow(panel, [down[level].side(1), up[level].side(-1)], palette.muted, dashed=True)
        else:
            x, y = down[level].bottom
            panel.text(x, y - 0.07, beside, color=palette.muted, fontsize=8, ha="center", va="top")
    _steps(panel, palette, (down, up), configuration.strides)
    previous = f" and the segmentation of {configuration.previous_stage}" if configuration.previous_stage else ""
    words = counted(num_channels, "input channel") + previous, counted(num_heads, "output map")
    _ends(panel, palette, (down[0], up[0] if up else down[0]), words)
    return figure


def _places(stages: int, height: float) -> tuple[list[_Place], list[_Place]]:
    """Set the encoder on the left, leaning inward, the decoder as its mirror image, the bottleneck in the middle."""
    lean = min((INNER - OUTER) / max(stages - 2, 1), MOST_LEAN)
    rows = [height - TOP - BOX_HEIGHT / 2 - PITCH * level for level in range(stages)]
    down = [_Place(INNER - lean * (stages - 2 - level), y) for level, y in enumerate(rows[:-1])]
    return [*down, _Place(WIDTH / 2, rows[-1])], [_Place(WIDTH - place.x, place.y) for place in down]


def _stage(panel: Axes, palette: Palette, place: _Place, size: Shape, features: int) -> None:
    left, bottom = place.x - BOX_WIDTH / 2, place.y - BOX_HEIGHT / 2
    color = palette.series[0]
    edges = [left, left + BOX_WIDTH, left + BOX_WIDTH, left]
    panel.fill(edges, [bottom, bottom, bottom + BOX_HEIGHT, bottom + BOX_HEIGHT], color=color, alpha=0.16, linewidth=0)
    panel.text(place.x, place.y + 0.1, _times(size), color=palette.ink, fontsize=9.5, ha="center", va="center")
    panel.text(
        place.x, place.y - 0.11, f"{features} features", color=palette.muted, fontsize=8, ha="center", va="center"
    )


def _steps(panel: Axes, palette: Palette, places: tuple[list[_Place], list[_Place]], strides: Sequence[Shape]) -> None:
    """Draw the strided convolutions down and the transposed ones up; the last pair bends into the bottleneck."""
    down, up = places
    for level, stride in enumerate(strides[1:]):
        above, below, back = down[level], down[level + 1], up[level]
        if level == len(up) - 1:
            fall = [above.bottom, (above.x, below.y), below.side(-1)]
            rise = [below.side(1), (back.x, below.y), back.bottom]
        else:  # straight down and up at the lower box
            fall = [(below.x, above.bottom[1]), below.top]
            rise = [up[level + 1].top, (up[level + 1].x, back.bottom[1])]
        _arrow(panel, fall, palette.series[1])
        _arrow(panel, rise, palette.series[2])
        y = (above.bottom[1] + below.top[1]) / 2
        _text(panel, palette, (fall[0][0], y), f"stride {_times(stride)}", 1)
        _text(panel, palette, (rise[-1][0], y), f"stride {_times(stride)}", -1)


def _ends(panel: Axes, palette: Palette, places: tuple[_Place, _Place], words: tuple[str, str]) -> None:
    """Say what enters on the left and leaves on the right."""
    (x, y), (x_out, _) = (place.top for place in places)
    inward = 1
    if x == x_out:  # a network of one stage
        x, x_out, inward = x - BOX_WIDTH / 3, x_out + BOX_WIDTH / 3, -1
    _arrow(panel, [(x, y + 0.3), (x, y)], palette.muted)
    _text(panel, palette, (x, y + 0.19), words[0], inward)
    _arrow(panel, [(x_out, y), (x_out, y + 0.3)], palette.muted)
    _text(panel, palette, (x_out, y + 0.19), words[1], -inward)


def _arrow(panel: Axes, points: Sequence[tuple[float, float]], color: str, dashed: bool = False) -> None:
    """Draw lines along the axes through `points` with a head at the last one."""
    style = (0, (3, 3)) if dashed else "-"
    panel.plot([x for x, _ in points], [y for _, y in points], color=color, linewidth=1.3, linestyle=style)
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    length, half = 0.09, 0.045
    corners = [(x, y), *((x - length * dx + side * half * dy, y - length * dy + side * half * dx) for side in (1, -1))]
    panel.fill([c for c, _ in corners], [c for _, c in corners], color=color, linewidth=0)


def _text(panel: Axes, palette: Palette, point: tuple[float, float], words: str, sign: int) -> None:
    """Write beside a point: to its right (1) or left (-1)."""
    side: Literal["left", "right"] = "left" if sign > 0 else "right"
    panel.text(point[0] + 0.1 * sign, point[1], words, color=palette.muted, fontsize=8, ha=side, va="center")


def _layers(count: int, block: str, kernel: Shape) -> str:
    return f"{counted(count, block)} {_times(kernel)}"


def _times(values: Sequence[int]) -> str:
    return by(values, "×")
