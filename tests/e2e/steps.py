"""What a person does in the pages, and where on them to look."""

import re
from contextlib import suppress

from playwright.sync_api import Locator, Page, TimeoutError, expect

from tests.e2e.conftest import wait_for


def ask(page: Page, prompt: str, steps: int) -> None:
    set_number(page, "Steps", str(steps))
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()
    expect(stage(page).get_by_text(prompt, exact=True)).to_be_visible()


def set_number(page: Page, label: str, value: str) -> None:
    field = number(page, label)
    field.fill(value)
    field.press("Tab")
    idle(page)


def choose(page: Page, label: str, option: str) -> None:
    """Opens the list again where the page scrolled while it settled: that closes lists."""

    def chosen() -> bool:
        page.get_by_role("combobox", name=label).click()
        with suppress(TimeoutError):
            page.get_by_role("option", name=option).click(timeout=3000)
            return True
        return False

    wait_for(chosen)
    idle(page)


def idle(page: Page) -> None:
    """Wait until the page has answered whatever was done last."""
    expect(page.locator('[data-test-script-state="notRunning"]')).to_be_visible()


def number(page: Page, label: str) -> Locator:
    return page.get_by_role("spinbutton", name=re.compile(rf"^{label}( · \w+)?$"))


def visit(page: Page, title: str) -> None:
    page.locator(".st-key-masthead").get_by_role("link", name=title).click()
    expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()


def open_details(page: Page, prompt: str) -> None:
    visit(page, "Previous Inferences")
    page.get_by_label("Search").fill(prompt)
    page.keyboard.press("Enter")
    card = page.locator('[class*="st-key-card-result-"]')
    expect(card).to_have_count(1)
    card.get_by_role("button", name="Details").click()
    expect(page.get_by_role("dialog").get_by_text(prompt)).to_be_visible()


def stage(page: Page) -> Locator:
    return page.locator(".st-key-card-stage")


def live_frame(page: Page) -> Locator:
    return stage(page).locator(".stImage img")


def figure(page: Page, name: str) -> Locator:
    return page.locator(".figures div").filter(has_text=name).locator("strong")


def value_of(details: Locator, name: str) -> str:
    return details.locator(f"dt:text-is('{name}') + dd").inner_text()


def expect_picture(place: Locator, prompt: str) -> None:
    """The finished one: a live frame, which says the same of itself, is not in the gallery yet."""
    picture = place.locator("img.still").and_(place.get_by_role("img", name=prompt, exact=True))
    expect(picture).to_be_visible()
    expect_loaded(picture)


def play(place: Locator) -> None:
    place.locator(".picture").click()
    moving = place.locator("img.moving")
    expect(moving).to_be_visible()
    expect_loaded(moving)


def expect_loaded(picture: Locator) -> None:
    expect(picture).not_to_have_js_property("naturalWidth", 0)  # the stage may just swap frame and picture


def download(page: Page, link: str, beginning: bytes) -> None:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=link).click()
    assert waiting.value.path().read_bytes().startswith(beginning)
