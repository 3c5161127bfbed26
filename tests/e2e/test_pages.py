"""What people do in the pages, in a real browser against real processes."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import RunningStudio
from tests.e2e.steps import (
    ask,
    download,
    expect_picture,
    figure,
    live_frame,
    number,
    open_details,
    play,
    set_number,
    stage,
    value_of,
    visit,
)

pytestmark = pytest.mark.e2e

NewPerson = Callable[..., Page]
LONG = 2000


@pytest.fixture(scope="module", autouse=True)
def executor(studio: RunningStudio) -> None:
    studio.start_executor()


def test_a_picture_goes_the_whole_way(new_person: NewPerson) -> None:
    page = new_person()
    ask(page, "a red circle on a blue background", steps=40)

    expect(live_frame(page)).to_be_visible()
    expect(stage(page).get_by_text(re.compile(r"Step \d+ of \d+"))).to_be_visible()
    expect_picture(stage(page), "a red circle on a blue background")
    expect(stage(page).get_by_text("done", exact=True)).to_be_visible()
    download(page, "Download PNG", b"\x89PNG")
    download(page, "Download GIF", b"GIF8")

    visit(page, "Previous Inferences")
    page.get_by_label("Search").fill("red circle blue")
    page.keyboard.press("Enter")
    card = page.locator('[class*="st-key-card-result-"]').first
    expect_picture(card, "a red circle on a blue background")
    play(card)
    card.get_by_role("button", name="Details").click()
    details = page.get_by_role("dialog")
    expect(details.get_by_text("40", exact=True)).to_be_visible()
    seed = value_of(details, "Seed")
    details.get_by_role("link", name="Use these parameters").click()

    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red circle on a blue background")
    expect(number(page, "Steps")).to_have_value("40")
    expect(number(page, "Seed")).to_have_value(seed)


def test_a_reload_and_a_second_tab_find_the_running_job(new_person: NewPerson) -> None:
    page = new_person()
    ask(page, "a boat on the sea", steps=LONG)
    expect(live_frame(page)).to_be_visible()

    page.goto("/")
    expect(live_frame(page)).to_be_visible()
    second_tab = page.context.new_page()
    second_tab.goto("/")
    expect(live_frame(second_tab)).to_be_visible()

    second_tab.get_by_role("button", name="Cancel").click()
    expect(stage(page).get_by_text("cancelled", exact=True)).to_be_visible()


def test_another_person_sees_an_empty_stage_and_cannot_cancel(new_person: NewPerson) -> None:
    page = new_person()
    ask(page, "a black cat at night", steps=LONG)
    expect(live_frame(page)).to_be_visible()

    other = new_person()
    expect(stage(other).get_by_text("Your picture forms here")).to_be_visible()
    other.goto(page.url)
    expect(live_frame(other)).to_be_visible()
    expect(other.get_by_role("button", name="Cancel")).to_have_count(0)

    page.get_by_role("button", name="Cancel").click()
    expect(stage(page).get_by_text("cancelled", exact=True)).to_be_visible()


def test_jobs_wait_in_line_and_are_listed(new_person: NewPerson) -> None:
    page = new_person()
    ask(page, "hills at night", steps=LONG)
    expect(live_frame(page)).to_be_visible()
    ask(page, "a forest in the rain", steps=10)
    expect(stage(page).get_by_text("You are next.")).to_be_visible()

    own = page.locator('[class*="st-key-card-own-"]')
    expect(own).to_have_count(2)
    own.filter(has_text="hills at night").get_by_role("button", name="Show").click()
    expect(live_frame(page)).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(stage(page).get_by_text("cancelled", exact=True)).to_be_visible()

    own.filter(has_text="a forest in the rain").get_by_role("button", name="Show").click()
    expect_picture(stage(page), "a forest in the rain")


def test_bad_input_is_told_in_one_sentence(new_person: NewPerson) -> None:
    page = new_person()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("The prompt is empty: type what the picture should show.")).to_be_visible()

    page.get_by_label("Prompt", exact=True).fill("a red circle")
    set_number(page, "Width", "100")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text(re.compile(r"'width': .*multiple of 16.*it was 100"))).to_be_visible()


def test_an_example_fills_the_prompt(new_person: NewPerson) -> None:
    page = new_person()
    page.get_by_role("radio", name="mountains at sunset under a clear sky").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("mountains at sunset under a clear sky")


def test_a_picture_is_deleted_for_ever(new_person: NewPerson) -> None:
    page = new_person()
    ask(page, "a purple triangle", steps=2)
    expect_picture(stage(page), "a purple triangle")

    open_details(page, "a purple triangle")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for ever").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("Nothing matches")).to_be_visible()


def test_a_click_while_the_picture_is_finished_is_served(
    new_person: NewPerson, studio: RunningStudio
) -> None:
    page = new_person()
    ask(page, "a blue heart", steps=20)
    expect(live_frame(page)).to_be_visible()
    with studio.frozen():
        studio.wait_for_finished("a blue heart")
        page.locator(".st-key-masthead").get_by_role("link", name="Vote Images").click()
    expect(page.get_by_role("heading", level=1, name="Vote Images")).to_be_visible()


def test_voting_by_keyboard_counts_in_the_standings(new_person: NewPerson) -> None:
    page = new_person()
    for prompt in ("a green star", "a yellow square", "a white cross"):
        ask(page, prompt, steps=1)
        expect_picture(stage(page), prompt)

    visit(page, "Vote Images")
    for key in ("1", "2", "0"):
        pictures = page.locator(".st-key-ballot img.still")
        expect(pictures).to_have_count(2)
        left, right = (picture.get_attribute("src") for picture in pictures.all())
        page.keyboard.press(key)
        judged = page.locator(f".st-key-ballot:has([src='{left}']):has([src='{right}'])")
        expect(judged).to_have_count(0)
    expect(page.get_by_role("heading", name="Standings")).to_be_visible()
    groups = page.get_by_role("table").last
    expect(groups.get_by_role("row").filter(has_text="vqgan_clip")).to_contain_text("sandbox")


def test_the_system_page_shows_who_draws(new_person: NewPerson, studio: RunningStudio) -> None:
    page = new_person("/system")
    expect(page.get_by_role("row").filter(has_text="ready")).to_have_count(1)
    expect(figure(page, "executors alive")).to_have_text("1")

    other = new_person()
    ask(other, "a fox in the snow", steps=LONG)
    expect(page.get_by_role("row").filter(has_text="a fox in the snow")).to_have_count(1)
    expect(figure(page, "jobs running")).to_have_text("1")
    other.get_by_role("button", name="Cancel").click()
    expect(figure(page, "jobs running")).to_have_text("0")


def test_without_an_executor_the_pages_say_how_to_start_one(
    new_person: NewPerson, studio: RunningStudio
) -> None:
    studio.stop_executors()
    page = new_person()
    ask(page, "a banana on a brown table", steps=5)
    expect(page.get_by_text("No executor is running: start one with ./run_executor.sh")).to_be_visible()
    visit(page, "System")
    expect(page.get_by_text("Start one with ./run_executor.sh")).to_be_visible()

    studio.start_executor()
    visit(page, "Text-to-Image Generation")
    expect_picture(stage(page), "a banana on a brown table")


def test_the_web_process_has_never_loaded_torch(new_person: NewPerson, studio: RunningStudio) -> None:
    page = new_person()
    for title in ("Previous Inferences", "Vote Images", "Weights", "System"):
        visit(page, title)
    mapped = studio.files_mapped_by_the_web_process()
    assert "libtorch" not in mapped
    assert "numpy" in mapped
