"""The viewer in a browser, opened from a file without a network: what people do with it changes what they see."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segfw.core.imaging.slices import View
from segfw.core.labels import LabelSet
from segfw.core.scoring.label_confusion import Confusion
from segfw.tracking.case_pictures import CaseMaps, Channel, make_pictures
from segfw.tracking.confusion_figure import ConfusionOf
from segfw.tracking.page import data_block
from segfw.tracking.report import ReportContent, build_report
from segfw.tracking.viewer import MOST_BYTES, ViewedCase, color_of, label_entries, name_of_value, viewer
from tests.tracking.contents import large_content

LABELS = LabelSet({"background": 0, "<b>liver</b>": 1, "tumor": 2, "ignore": 3})
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MOST_PAGE_BYTES = 20_000_000


def viewed(name: str, num_slices: int, seed: int, channels: tuple[str, ...] = ("CT",)) -> ViewedCase:
    """Return a case with a square of label 1 that moves from slice to slice, predicted a bit lower."""
    shape = (num_slices, 40, 60)
    image = np.random.default_rng(seed).uniform(0, 100, (len(channels), *shape)).astype(np.float32)
    reference, prediction = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    for number in range(num_slices):
        reference[number, 10:20, 10 + number : 24 + number] = 1
        prediction[number, 12:24, 10 + number : 24 + number] = 1
    shown = [Channel(channel, (index,), 0.0, 100.0) for index, channel in enumerate(channels)]
    maps = CaseMaps(image, reference, prediction, (3.0, 1.0, 0.5))
    pictures = make_pictures(maps, shown, View((0, 1, 2), ends=("R", "L", "A", "P")), 1_000_000)
    dice = {"<b>liver</b>": 0.625, "tumor": float("nan")}
    return ViewedCase(name, "worst", "0", 0.625, dice, {"<b>liver</b>": (2.0, 2.5)}, "ml", pictures)


CASES = (viewed("volume", 9, 0, ("T1", "T2")), viewed("slice", 1, 1))


# --- without a browser -----------------------------------------------------------------------------------------------


def test_no_text_can_end_the_data():
    block = data_block("x", json.dumps({"name": "</script><script>alert(1)</script>"}))
    assert block.count("</script>") == 1
    inside = block.split(">", 1)[1].removesuffix("</script>\n")
    assert json.loads(inside) == {"name": "</script><script>alert(1)</script>"}


@given(st.text())
def test_any_text_comes_back_from_the_data(text):
    inside = data_block("x", json.dumps(text)).split(">", 1)[1].removesuffix("</script>\n")
    assert "<" not in inside
    assert json.loads(inside) == text


def test_labels_have_names_colors_and_values():
    assert [(e["name"], e["value"], e["shown"]) for e in label_entries(LABELS)] == [
        ("<b>liver</b>", 1, True),
        ("tumor", 2, True),
        ("ignore", 3, False),
    ]
    assert len({color_of(number) for number in range(17)}) == 17
    assert color_of(17) == color_of(0)


def test_values_of_regions_are_named_after_them():
    regions = LabelSet({"background": 0, "whole": (1, 2), "core": 2}, regions_class_order=(1, 2))
    assert [name_of_value(value, regions) for value in (0, 1, 2)] == ["background", "1 (whole)", "2 (whole, core)"]


def test_without_cases_there_is_no_script():
    page = build_report(ReportContent("Set", "main", 3, ("CT",), LABELS))
    assert "<script" not in page
    assert "script-src 'none'" in page
    assert "This file holds no images." in page
    assert "No segmentation of a validated case is at hand." in viewer((), LABELS)


@pytest.mark.slow
def test_a_large_page_stays_below_twenty_megabytes():
    """Five cases as if segmented into 25 labels at random, which fill what they may, and 10 000 scores."""
    rng = np.random.default_rng(0)
    shape = (64, 224, 224)
    reference, prediction = (rng.integers(0, 26, shape, dtype=np.int16) for _ in range(2))
    maps = CaseMaps(rng.uniform(0, 100, (1, *shape)).astype(np.float32), reference, prediction, (1.0, 1.0, 1.0))
    pictures = make_pictures(maps, (Channel("CT", (0,), 0.0, 100.0),), View((0, 1, 2)), MOST_BYTES // 5)
    assert MOST_BYTES // 20 <= pictures.num_bytes <= MOST_BYTES // 5
    labels = LabelSet({"background": 0, **{f"organ {value}": value for value in range(1, 26)}})
    cases = tuple(ViewedCase(f"case {n}", "worst", "0", 0.5, {}, {}, "ml", pictures) for n in range(5))
    page = build_report(large_content(labels, cases))
    assert len(page.encode()) < MOST_PAGE_BYTES


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium; the tests are skipped, aloud, where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open the report with")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def opened(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Open the page from a file, without a network; what goes wrong on it is kept in `complaints`."""
    matrix = Confusion((0, 1, 2), ((90, 10, 0), (5, 20, 0), (0, 0, 0)))
    content = ReportContent(
        "Set", "main", 2, ("T1", "T2"), LABELS, viewed=CASES, confusion=ConfusionOf("3d", matrix, 2)
    )
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(build_report(content), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    page = context.new_page()
    page.complaints = []
    page.requests = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("requestfailed", lambda request: page.complaints.append(request.url[:200]))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(file.as_uri())
    return page


@pytest.fixture
def page(opened: Any) -> Any:
    """Return the page as it was opened: the first case, its slice of most foreground, everything shown."""
    opened.reload()
    drawn(opened, "0/0")
    return opened


def drawn(page: Any, place: str) -> None:
    """Wait until a case and slice are on the canvas."""
    page.wait_for_selector(f"#viewer[data-drawn='{place}']")


def pixels(page: Any) -> str:
    """Return what the canvas shows."""
    page.wait_for_timeout(50)
    shown: str = page.evaluate("document.getElementById('viewer-canvas').toDataURL()")
    return shown


def color_at(page: Any, x: float, y: float) -> list[int]:
    """Return the color at a place given as shares of the canvas."""
    found: list[int] = page.evaluate(
        "([x, y]) => { const shown = document.getElementById('viewer-canvas'), c = document.createElement('canvas');"
        "c.width = c.height = 1; const pen = c.getContext('2d');"  # read from a copy: the canvas itself is not for that
        "pen.drawImage(shown, x * shown.width, y * shown.height, 1, 1, 0, 0, 1, 1);"
        "return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3) }",
        [x, y],
    )
    return found


def test_opens_without_complaint_and_loads_nothing(page):
    assert page.complaints == []
    assert [url[:8] for url in page.requests if not url.startswith("data:image/webp")] == ["file:///"] * 2  # and reload
    assert page.inner_text("#viewer-position") == "slice 1 of 9"
    assert page.locator(".viewer-end").all_inner_texts() == ["R", "L", "A", "P"]
    assert "<b>liver</b>" in page.inner_text("#viewer-legend")  # as text


def test_pixels_are_as_wide_and_high_as_the_voxels(page):
    size = page.evaluate("(({width, height}) => [width, height])(document.getElementById('viewer-canvas'))")
    assert size == [540, 720]  # 60 x 0.5 mm wide, 40 x 1 mm high
    box = page.locator("#viewer-canvas").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(0.75, rel=0.02)


def test_the_slider_moves_the_slice(page):
    before = pixels(page)
    page.locator("#viewer-slice").fill("5")
    drawn(page, "0/5")
    assert pixels(page) != before
    assert page.inner_text("#viewer-position") == "slice 6 of 9"


@pytest.mark.parametrize("name", ["reference", "prediction", "outlines"])
def test_overlays_come_and_go(page, name):
    before = pixels(page)
    page.locator(f"#viewer-{name}").click()
    other = pixels(page)
    assert other != before
    page.locator(f"#viewer-{name}").click()
    assert pixels(page) == before


def test_opacity_is_of_areas(page):
    assert page.locator("#viewer-opacity").is_enabled()
    page.locator("#viewer-outlines").click()
    pixels(page)
    assert page.locator("#viewer-opacity").is_disabled()
    page.locator("#viewer-outlines").click()
    pixels(page)
    assert page.locator("#viewer-opacity").is_enabled()


def test_the_prediction_is_where_it_was_predicted(page):
    page.locator("#viewer-reference").click()
    page.locator("#viewer-opacity").fill("100")
    pixels(page)
    assert color_at(page, 17 / 60, 18 / 40) == [0x56, 0xB4, 0xE9]
    grey = color_at(page, 17 / 60, 30 / 40)
    assert max(grey) - min(grey) <= 3
    page.locator("#viewer-legend input").first.click()  # without this label
    pixels(page)
    grey = color_at(page, 17 / 60, 18 / 40)
    assert max(grey) - min(grey) <= 3


def test_the_keyboard_moves_and_toggles(page):
    canvas = page.locator("#viewer-canvas")
    canvas.focus()
    canvas.press("ArrowUp")
    drawn(page, "0/1")
    canvas.press("End")
    drawn(page, "0/8")
    canvas.press("ArrowDown")
    drawn(page, "0/7")
    before = pixels(page)
    canvas.press("p")
    assert pixels(page) != before
    assert not page.locator("#viewer-prediction").is_checked()
    assert "slice 8 of 9" in canvas.get_attribute("aria-label")


def test_the_wheel_moves_the_slice(page):
    page.locator("#viewer-canvas").hover()
    page.mouse.wheel(0, 100)
    drawn(page, "0/1")
    assert "reference:" in page.inner_text("#viewer-pointer")


def test_another_case_is_another_image(page):
    before = pixels(page)
    page.locator("#viewer-case").select_option(index=1)
    drawn(page, "1/0")
    assert pixels(page) != before
    assert not page.locator("#viewer-slider").is_visible()  # a single slice
    assert not page.locator("#viewer-channel").is_visible()
    assert page.inner_text("#viewer-position") == ""


def test_another_channel_is_another_image(page):
    before = pixels(page)
    page.locator("#viewer-channel").select_option("T2")
    assert pixels(page) != before


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 400)])
def test_nothing_is_wider_than_the_window(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "[...document.querySelectorAll('#cases > .viewer, .viewer > div, .viewer select')]"
    assert page.evaluate(f"Math.max(...{inside}.map((e) => e.getBoundingClientRect().right))") <= width
    assert page.complaints == []
