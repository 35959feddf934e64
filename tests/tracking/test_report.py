"""The page: complete, self-contained, escaped, and honest about what is missing."""

import math
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

from segfw.core.labels import LabelSet
from segfw.tracking.comparison_section import NamedResult
from segfw.tracking.confusion_figure import confusion_section
from segfw.tracking.numbers import aligned
from segfw.tracking.report import ReportContent, build_report
from tests.tracking.contents import CONFIGURATION, LABELS, full_content

VOID = {"meta", "br", "input"}


class Reader(HTMLParser):
    """Collects text, tags and links, and checks that what is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag and what it refers to."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost tag, which must be this one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note the text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, white space joined."""
        return " ".join(" ".join(self.words).split())


@cache
def full_page() -> str:
    """Return the page with everything in it."""
    return build_report(full_content(num_cases=8, epochs=5))


def test_full_page_is_well_formed_and_loads_nothing() -> None:
    page = full_page()
    reader = Reader(page)
    assert not reader.open
    assert all(link.startswith("#") and link[1:] in reader.identifiers for link in reader.links)
    assert "://" not in page
    assert "@import" not in page
    assert "script" not in reader.tags
    assert reader.tags.count("svg") == 10  # geometry, intensities, network, curves (all, two), boxes, confusion, strips
    assert max(len(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)) < 60_000


def test_every_text_is_escaped() -> None:
    page = full_page()
    assert "<script>" not in page
    assert "<bile>" not in page
    assert "Liver &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "liver & <bile>" in Reader(page).text


def test_tells_the_plan_the_scores_and_the_winner() -> None:
    text = Reader(full_page()).text
    for expected in (
        "3d_fullres is the best of 2 candidates of main, scored on 8 of 8 cases (folds 0, 1)",
        "0.8213 mean Dice, cross-fitted",
        "0.8248 mean Dice, selection score",
        "liver & <bile> 8 0.952 ± 0.020 0.9",
        "patch (voxels) 32 × 64 × 64",
        "Memory For 8 GB of GPU memory.",
        "Spacing 1.5 × 0.8 × 0.8 mm The median of 60 cases is 1.5 × 0.8 × 0.8 mm, ≥ 0.8 mm. Rule: the median of",
        "tumor $x$ background 30.00 % 30 liver & <bile> background 10.00 % 10",
        "3d_fullres, fold 0 1000 epochs 115 min 2.0 h 3.25 GB 7.50 GB one GPU",
        "3d_fullres, fold 1 500 early (no progress) – 2 min – – –",
        "patch (mm) 48 × 51.2 × 51.2",
        "parameters 1.27 M",
        "strides 1×1×1 1×2×2 2×2×2",
        "3d_fullres selected 60 0.8248 0.9511 0.6984",
        "normalization CT 101.5",
        "1200 clip, dataset’s mean and std",
        "Networks main/3d_fullres",
        "3 output maps Boxes: feature maps of one patch",
        "segfw 0.1.0 · torch 2.9.1",
        "This file holds no images.",
    ):
        assert expected in text


def test_tells_other_names_in_a_part_of_their_own_and_nowhere_else() -> None:
    content = full_content(num_cases=3, epochs=2)
    assert "Other names" not in Reader(build_report(content)).text
    named = (NamedResult("main", 2, "3d_fullres", 3, 0.8248, 0.8213), NamedResult("zeta", 1))
    reader = Reader(build_report(replace(content, named=named)))
    assert "Liver <script>alert(1)</script>: main" in reader.text
    assert "about main alone; 1 other name is in the same folder" in reader.text
    assert "main this page 3d_fullres 2 3 0.8248 0.8213 zeta – 1 – – –" in reader.text
    assert reader.text.count("zeta") == 1


def test_statistics_leave_out_undefined_cases() -> None:
    content = full_content(num_cases=3, epochs=1)
    scores = content.validations[0]
    dice = {"organ": (float("nan"), 0.5, 0.7), "never": (float("nan"),)}
    changed = type(scores)(scores.configuration, scores.folds, dice)
    text = Reader(build_report(ReportContent("Set", "main", 3, ("CT",), LABELS, validations=(changed,)))).text
    assert "organ 2 0.6000 0.1000 0.5000 0.6000 0.7000" in text
    assert "never 0 – – – – –" in text


def test_a_column_has_the_same_decimals_throughout() -> None:
    assert aligned([101.5, -980.0, 0.25], 5) == ["101.50", "-980.00", "0.25"]
    assert aligned([1200.0, 3.0, None], 5) == ["1200", "3", "–"]
    assert aligned([0.12345, math.nan, 0.5], 4) == ["0.1235", "–", "0.5000"]
    assert aligned([], 4) == []


def test_durations_are_told_as_people_say_them() -> None:
    text = Reader(full_page()).text
    assert re.search(r"3d_fullres, fold 0 5 -?\d\.\d{4} -?\d\.\d{4} \d\.\d{4} 2 min", text)  # 5 epochs of 20 s


def test_confusion_says_what_it_counts() -> None:
    confusion = full_content(num_cases=8).confusion
    assert confusion is not None
    notes = ("2 of 10 segmentations are missing.",)
    assert "all voxels of 8 cases, before" in Reader(confusion_section(confusion, LABELS)).text
    partly = LabelSet({**LABELS.values, "ignore": 3})
    told = Reader(confusion_section(replace(confusion, notes=notes, is_flat=True), partly)).text
    assert "all annotated pixels of 8 cases, before postprocessing. 2 of 10 segmentations are missing." in told
    assert "voxel" not in told


def test_says_what_is_not_there_yet() -> None:
    reader = Reader(build_report(ReportContent("Set", "main", 3, ("CT",), LABELS)))
    assert reader.text.count("Not made yet.") == 2
    assert "No fold is finished yet." in reader.text
    assert "Nothing has been selected yet." in reader.text
    assert "svg" not in reader.tags


def test_a_given_value_is_not_explained_by_a_rule() -> None:
    content = full_content(num_cases=8, epochs=5)
    given = "Given: plan.patch_size=[32, 64, 64], planned [64, 64, 64]; batch_size as planned."
    reasons = {**content.reasons, "configurations.3d_fullres.patch_size": given}
    text = Reader(build_report(replace(content, reasons=reasons))).text
    assert f"voxels {given} Topology" in text
    assert "Rule: the largest patch that fits the memory" not in text
    assert "Rule: the largest patch that fits the memory" in Reader(full_page()).text


def test_the_reasons_of_the_explained_configuration_are_open() -> None:
    content = full_content(num_cases=3, epochs=1)
    assert content.plan is not None
    both = replace(content.plan, configurations={"2d": CONFIGURATION, "3d_fullres": CONFIGURATION})

    def opened(explained: str | None) -> list[str]:
        page = build_report(replace(content, plan=both, explained=explained))
        why = page[page.index("Why it is so") :]
        return [name for name in both.configurations if f"<details open><summary>{name}<" in why]

    assert opened("3d_fullres") == ["3d_fullres"]
    assert opened(None) == opened("of another plan") == ["2d"]


def test_what_a_figure_is_stands_beside_it() -> None:
    text = Reader(full_page()).text
    assert "loss validation loss patch Dice (moving average) time" in text
    assert "so that it may be too optimistic; it and the distributions, which are the winner’s, are before" in text


def test_a_score_that_is_not_known_has_no_tile() -> None:
    content = full_content(num_cases=8, epochs=5)
    assert content.choice is not None
    one_fold = replace(content.choice, cross_fitted=None, reason="it takes two folds at least")
    text = Reader(build_report(replace(content, choice=one_fold))).text
    assert "mean Dice, cross-fitted" not in text
    assert (
        "No cross-fitted score: it takes two folds at least. The selection score is of the cases that chose the "
        "winner, before postprocessing."
    ) in text
