"""Every page at desktop and phone width, in both themes: fits, is themed, and needs no other server.

The pictures are kept in ``artifacts/screenshots``. With ``REFRESH_SCREENSHOTS=1`` in the environment those
that the README shows are renewed in ``docs/screenshots``.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ROOT, RunningStudio, wait_for
from tests.e2e.steps import visit

pytestmark = pytest.mark.e2e

KEPT = ROOT / "artifacts" / "screenshots"
SHOWN = ROOT / "docs" / "screenshots"
IN_README = {
    "generate-desktop-light": "generate",
    "gallery-desktop-light": "gallery",
    "vote-desktop-light": "vote",
    "system-desktop-dark": "system",
    "generate-phone-dark": "phone",
}
SIZES = {"desktop": {"width": 1280, "height": 880}, "phone": {"width": 390, "height": 844}}
GROUNDS = {"light": "rgb(246, 246, 244)", "dark": "rgb(18, 19, 22)"}
PAGES = {
    "generate": ("Text-to-Image Generation", ".st-key-card-stage .stImage img"),
    "gallery": ("Previous Inferences", ".picture .still"),
    "vote": ("Vote Images", ".st-key-ballot .still"),
    "weights": ("Weights", ".badge.succeeded"),
    "system": ("System", ".table .badge.running"),
}
REFRESH = os.environ.get("REFRESH_SCREENSHOTS") == "1"
PROMPTS = (
    "a red circle on a blue background",
    "mountains at sunset under a clear sky",
    "a pink flower with a yellow centre",
)
MAX_BYTES = 150_000
PICTURES_ARE_THERE = """() => [...document.images]
    .filter(image => image.checkVisibility() && image.getBoundingClientRect().top < innerHeight)
    .every(image => image.complete && image.naturalWidth)"""


@pytest.fixture(scope="module", autouse=True)
def filled_gallery(studio: RunningStudio) -> None:
    studio.start_executor()
    quick = {} if REFRESH else {"steps": 2, "candidates": 1, "cutouts": 2}
    finished = [submit(studio, prompt, **quick) for prompt in PROMPTS]
    wait_for(lambda: all(studio.call(f"/jobs/{job}")["state"] == "succeeded" for job in finished), 240)


@pytest.fixture
def running_job(studio: RunningStudio) -> Iterator[str]:
    job = submit(studio, "a woman with long blond hair and glasses", steps=2000, candidates=1)
    wait_for(lambda: studio.call(f"/jobs/{job}")["progress"])
    yield job
    studio.call(f"/jobs/{job}/cancel", {})


@pytest.mark.parametrize("theme", GROUNDS)
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_is_themed(
    size: str, theme: str, new_person: Callable[..., Page], running_job: str
) -> None:
    page = new_person(viewport=SIZES[size], color_scheme=theme)
    hosts: set[str | None] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(f"/?job={running_job}")
    for name, (title, awaited) in PAGES.items():
        if name != "generate":
            visit(page, title)
        expect(page.locator(awaited).first).to_be_visible()
        expect(page.locator('[data-test-script-state="notRunning"]')).to_be_visible()
        expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
        wait_for(lambda: page.evaluate(PICTURES_ARE_THERE))
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
        expect(page.locator(".stApp")).to_have_css("background-color", GROUNDS[theme])
        keep(page, f"{name}-{size}-{theme}")
    assert hosts <= {"localhost", None}


def submit(studio: RunningStudio, prompt: str, **parameters: object) -> str:
    job = studio.call("/jobs", {"generator": "vqgan_clip", "parameters": {"prompt": prompt, **parameters}})
    return str(job["id"])


def keep(page: Page, name: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=KEPT / f"{name}.png")
    if REFRESH and name in IN_README:
        show(KEPT / f"{name}.png", SHOWN / f"{IN_README[name]}.png")


def show(picture: Path, place: Path) -> None:
    """Keep a README's picture small: fewer colours until it is under MAX_BYTES."""
    place.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(picture).convert("RGB")
    for colours in (256, 128, 64, 32):
        image.quantize(colours).save(place, optimize=True)
        if place.stat().st_size <= MAX_BYTES:
            return
    pytest.fail(f"{place.name} stays over {MAX_BYTES} bytes")
