"""A viewer on the page: chosen cases with reference and prediction laid over the image, slice by slice.

The script and its look are files of their own beside this one. Everything that a dataset names is set as text by the
script, never as markup.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from segfw.core.labels import IGNORE, LabelSet
from segfw.tracking.case_pictures import Pictures
from segfw.tracking.page import caption, data_block, paragraph

MOST_BYTES = 11_000_000
"""Of the pictures of all cases together: the page stays below 20 MB."""
COLORS = ("#56b4e9", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#0072b2")
"""Okabe and Ito's, which people with colour-blindness tell apart, without black; ordered for a grey image."""
FURTHER = ("#88ccee", "#ddcc77", "#44aa99", "#cc6677", "#aa4499", "#bbbbbb", "#999933", "#882255", "#117733", "#6699cc")
"""Tol's muted ones, for datasets of many labels; beyond these the colours begin again."""
UNANNOTATED = "#9aa4ad"

_MARKUP = """<div id="viewer" class="viewer">
<div>
<div class="viewer-frame"><canvas id="viewer-canvas" tabindex="0" role="img" aria-describedby="viewer-keys"></canvas>
<span class="viewer-end" data-side="left"></span><span class="viewer-end" data-side="right"></span>
<span class="viewer-end" data-side="top"></span><span class="viewer-end" data-side="bottom"></span></div>
<div id="viewer-slider" class="viewer-slider">
<canvas id="viewer-profile" class="viewer-profile" aria-hidden="true"></canvas>
<input id="viewer-slice" type="range" min="0" max="0" value="0" aria-label="slice"></div>
<div class="viewer-words"><span id="viewer-position" role="status"></span><span id="viewer-pointer"></span></div>
</div>
<div class="viewer-side">
<label>Case <select id="viewer-case"></select></label>
<label hidden>Channel <select id="viewer-channel"></select></label>
<fieldset><legend>Overlay</legend>
<label><input id="viewer-reference" type="checkbox" checked> Reference</label>
<label><input id="viewer-prediction" type="checkbox" checked> Prediction</label>
<label><input id="viewer-outlines" type="checkbox"> Outlines only</label>
<label>Opacity <input id="viewer-opacity" type="range" min="0" max="100" value="45"></label></fieldset>
<div class="wide viewer-legend"><table><thead><tr><th scope="col">label</th><th scope="col">Dice</th>
<th scope="col">{unit}<br>ref. / pred.</th></tr></thead><tbody id="viewer-legend"></tbody></table></div>
<p id="viewer-keys" class="quiet viewer-keys">On the image: <kbd>↑</kbd> <kbd>↓</kbd> or the wheel change the slice,
<kbd>Page up</kbd> <kbd>Page down</kbd> ten, <kbd>r</kbd> <kbd>p</kbd> <kbd>o</kbd> switch reference, prediction and
outlines.</p>
</div>
</div>
<noscript><p>The viewer needs JavaScript; nothing is loaded from anywhere.</p></noscript>
"""
_CAPTION = (
    "With both shown, the reference is the line and the prediction the area; as outlines only, the prediction is the "
    "broken line."
)
_OF_SLICES = (
    "Slices lie across the axis of largest spacing, around the labels. Bars above the slider: pixels of each slice on "
    "which reference and prediction differ."
)


@dataclass(frozen=True)
class ViewedCase:
    """A case of the viewer: why it was chosen, who segmented it and how well.

    `dice`: of the labels, NaN where undefined; `sizes`: of reference and prediction, in `unit`.
    """

    name: str
    role: str
    fold: str
    mean_dice: float
    dice: Mapping[str, float]
    sizes: Mapping[str, tuple[float, float]]
    unit: str
    pictures: Pictures

    @property
    def title(self) -> str:
        """What the case is called where one is chosen."""
        scored = "" if math.isnan(self.mean_dice) else f" (Dice {self.mean_dice:.3f})"
        return f"{self.role}: {self.name}{scored}"


def viewer(cases: Sequence[ViewedCase], labels: LabelSet, notes: Sequence[str] = ()) -> str:
    """Return the viewer's markup and its data; the script that brings it to life is the page's."""
    if not cases:
        return paragraph("No segmentation of a validated case is at hand.", quiet=True) + "".join(
            paragraph(note, quiet=True) for note in notes
        )
    told = caption(*notes, _CAPTION, *((_OF_SLICES,) if any(case.pictures.num_slices > 1 for case in cases) else ()))
    return _MARKUP.format(unit=escape(cases[0].unit)) + told + data_block("viewer-data", viewer_data(cases, labels))


def viewer_data(cases: Sequence[ViewedCase], labels: LabelSet) -> str:
    """Return what the script is told, as JSON."""
    content = {
        "labels": label_entries(labels),
        "ignore": labels.ignore_value,
        "cases": [_case(case) for case in cases],
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def label_entries(labels: LabelSet) -> list[dict[str, Any]]:
    """Return name, value, colour and whether it is shown, of each value that a map may mark.

    Of regions, which overlap, the values are shown as they are painted, each named after the regions that hold it.
    """
    entries: list[dict[str, Any]] = [
        {"name": name_of_value(value, labels), "value": value, "color": color_of(number), "shown": True}
        for number, value in enumerate(labels.foreground_values)
    ]
    if labels.ignore_value is not None:
        entries.append({"name": IGNORE, "value": labels.ignore_value, "color": UNANNOTATED, "shown": False})
    return entries


def name_of_value(value: int, labels: LabelSet) -> str:
    """Return the name of a label, or of a value that regions hold with theirs in brackets."""
    names = [name for name, key in labels.foreground if value in key]
    if not labels.has_regions:
        return names[0] if names else "background"
    return f"{value} ({', '.join(names)})" if names else "background" if value == 0 else str(value)


def color_of(number: int) -> str:
    """Return the colour of the label at a place in the order of labels."""
    colors = (*COLORS, *FURTHER)
    return colors[number % len(colors)]


def _case(case: ViewedCase) -> dict[str, Any]:
    """Return a case for the script; rows of the legend are keyed by the name that it shows."""
    pictures = case.pictures
    return {
        "title": case.title,
        "slices": pictures.slices,
        "num_slices": pictures.num_slices,
        "width": pictures.width,
        "height": pictures.height,
        "aspect": pictures.aspect,
        "ends": pictures.ends,
        "channels": pictures.channels,
        "reference": pictures.reference,
        "prediction": pictures.prediction,
        "bytes_per_pixel": pictures.bytes_per_pixel,
        "rows": {name: _row(case, name) for name in case.dice},
    }


def _row(case: ViewedCase, name: str) -> list[str]:
    dice, sizes = case.dice[name], case.sizes.get(name)
    told = "" if sizes is None else " / ".join(f"{size:,.0f}" if size >= 100 else f"{size:.3g}" for size in sizes)
    return ["–" if math.isnan(dice) else f"{dice:.3f}", told]
