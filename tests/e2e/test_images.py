"""Pictures in the form, in a real browser: handed in, painted on, and begun from again."""

import io
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import ROOT, RunningStudio, wait_for
from tests.e2e.steps import ask, choose, expect_picture, idle, number, open_details, stage, visit
from tests.e2e.test_look import SIZES, keep

pytestmark = pytest.mark.e2e

NewPerson = Callable[..., Page]
PICTURE = next((ROOT / "res" / "inferences").glob("a-red-balloon*.png"))
ALPHA = """(canvas, [x, y]) => canvas.getContext("2d")
    .getImageData(x * canvas.width, y * canvas.height, 1, 1).data[3]"""


@pytest.fixture(scope="module", autouse=True)
def executor(studio: RunningStudio) -> None:
    studio.start_executor()


def group(page: Page, name: str) -> Locator:
    return page.get_by_test_id("stExpander").filter(has=page.locator("summary").filter(has_text=name))


def hand_in(page: Page, label: str) -> None:
    uploader = page.get_by_test_id("stFileUploader").filter(has_text=label)
    uploader.locator("input[type=file]").set_input_files(PICTURE)


def choose_start_image(page: Page) -> Locator:
    """Open the group and hand the picture in; returns the canvas over it."""
    group(page, "Start").locator("summary").click()
    hand_in(page, "Start image")
    expect_changed(page, "Start", 1)
    canvas = page.get_by_label("Mask: what is painted may change")
    expect(canvas).to_have_js_property("width", 768)
    return canvas


def expect_changed(page: Page, name: str, count: int) -> None:
    expect(group(page, name).locator("summary")).to_contain_text(f"{count} changed")
    idle(page)


def drag(page: Page, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """By mouse, in shares of the canvas."""
    canvas.evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
    box = canvas.bounding_box()
    assert box is not None
    across, down = zip(start, end, strict=True)
    xs, ys = [box["x"] + x * box["width"] for x in across], [box["y"] + y * box["height"] for y in down]
    page.mouse.move(xs[0], ys[0])
    page.mouse.down()
    page.mouse.move(xs[1], ys[1], steps=5)
    page.mouse.up()
    idle(page)


def is_painted(canvas: Locator, x: float, y: float) -> bool:
    return bool(canvas.evaluate(ALPHA, [x, y]) > 127)


def expect_painted(canvas: Locator, *places: tuple[float, float]) -> None:
    expect(canvas).to_have_js_property("width", 768)
    wait_for(lambda: all(is_painted(canvas, *place) for place in places), 60)


def newest(studio: RunningStudio, prompt: str) -> Any:
    return next(job for job in studio.call("/jobs")["items"] if job["prompt"] == prompt)


def mask_of(studio: RunningStudio, job: Any) -> np.ndarray:
    with urlopen(f"{studio.url}/api/uploads/{job['parameters']['mask']}") as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("L"))


def test_a_mask_is_painted_kept_and_shown_again(new_person: NewPerson, studio: RunningStudio) -> None:
    page = new_person(viewport=SIZES["desktop"])
    canvas = choose_start_image(page)
    drag(page, canvas, (0.2, 0.2), (0.8, 0.2))
    expect_changed(page, "Start", 2)
    page.get_by_role("button", name="Eraser").click()
    drag(page, canvas, (0.5, 0.1), (0.5, 0.3))
    assert [is_painted(canvas, x, 0.2) for x in (0.25, 0.5, 0.75)] == [True, False, True]
    keep(page, "mask-desktop")

    ask(page, "a balloon with a mask", steps=1)
    expect_picture(stage(page), "a balloon with a mask")
    mask = mask_of(studio, newest(studio, "a balloon with a mask"))
    assert set(np.unique(mask)) == {0, 255}
    assert [mask[154, int(768 * x)] for x in (0.25, 0.5, 0.75)] == [255, 0, 255]
    assert mask[600].max() == 0

    visit(page, "Previous Inferences")
    visit(page, "Text-to-Image Generation")
    expect_painted(canvas, (0.25, 0.2), (0.75, 0.2))
    assert not is_painted(canvas, 0.5, 0.2)

    other = new_person()
    open_details(other, "a balloon with a mask")
    other.get_by_role("dialog").get_by_role("link", name="Use these parameters").click()
    again = other.get_by_label("Mask: what is painted may change")
    expect_painted(again, (0.25, 0.2), (0.75, 0.2))
    assert not is_painted(again, 0.5, 0.2)


def test_a_mask_is_inverted_and_cleared(new_person: NewPerson) -> None:
    page = new_person()
    canvas = choose_start_image(page)
    drag(page, canvas, (0.2, 0.5), (0.8, 0.5))
    expect_changed(page, "Start", 2)
    page.get_by_role("button", name="Invert").click()
    idle(page)
    assert [is_painted(canvas, 0.5, y) for y in (0.2, 0.5, 0.8)] == [True, False, True]
    page.get_by_role("button", name="Clear").click()
    expect_changed(page, "Start", 1)
    assert not is_painted(canvas, 0.5, 0.2)

    page.get_by_role("button", name="Remove").click()
    expect(canvas).to_have_count(0)


def test_a_finger_paints_on_a_phone(new_person: NewPerson) -> None:
    page = new_person(viewport=SIZES["phone"], has_touch=True, is_mobile=True)
    canvas = choose_start_image(page)
    canvas.evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
    canvas.tap(position={"x": 100, "y": 100})
    expect_changed(page, "Start", 2)
    box = canvas.bounding_box()
    assert box is not None
    assert is_painted(canvas, 100 / box["width"], 100 / box["height"])
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES["phone"]["width"]
    keep(page, "mask-phone")


def test_a_finished_picture_is_continued_and_varied(new_person: NewPerson, studio: RunningStudio) -> None:
    page = new_person()
    ask(page, "a red circle to go on from", steps=1)
    expect_picture(stage(page), "a red circle to go on from")
    seed = newest(studio, "a red circle to go on from")["parameters"]["seed"]

    stage(page).get_by_role("link", name="Continue").click()
    expect_changed(page, "Start", 1)
    expect(number(page, "Seed")).to_have_value(str(seed))
    expect_picture(stage(page), "a red circle to go on from")

    stage(page).get_by_role("link", name="Variations").click()
    expect_changed(page, "Start", 2)
    expect(number(page, "Seed")).to_have_value("")
    expect(number(page, "Imagined afresh")).to_have_value("0.5")


def test_the_aspect_ratio_sets_the_height(new_person: NewPerson) -> None:
    page = new_person()
    choose(page, "Aspect ratio", "16:9")
    expect(number(page, "Height")).to_have_value("80")
    expect(number(page, "Height")).to_be_disabled()
