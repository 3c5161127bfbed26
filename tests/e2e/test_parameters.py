"""Where the form's parameters come from and go to: files, presets, batches of seeds; nobody draws here."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from jobs import pictures
from tests.e2e.steps import number, set_number, stage

pytestmark = pytest.mark.e2e

NewPerson = Callable[..., Page]
SPEC = {"prompt": "ein grüner Kreis", "weights": "sandbox", "seed": 9, "steps": 44, "cutouts": 5}


def drop(page: Page, file: Path) -> None:
    page.locator(".st-key-recipe input[type=file]").first.set_input_files(file)


def picture(folder: Path, **changes: object) -> Path:
    recipe = {"generator": "vqgan_clip", "spec": SPEC} | changes
    file = folder / "found.webp"
    file.write_bytes(pictures.webp([np.zeros((16, 16, 3), np.uint8)], recipe))
    return file


def test_a_dropped_picture_fills_the_form(new_person: NewPerson, tmp_path: Path) -> None:
    page = new_person()
    drop(page, picture(tmp_path))

    expect(page.get_by_text("Prompt and parameters are those of found.webp.")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("ein grüner Kreis")
    expect(number(page, "Seed")).to_have_value("9")
    expect(number(page, "Steps")).to_have_value("44")
    expect(number(page, "Cutouts")).to_have_value("5")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"generator": "crayons"}, "There is no generator 'crayons'; choose one of "),
        ({"spec": SPEC | {"weights": "gone"}}, "has no weights 'gone'; choose one of "),
    ],
)
def test_what_is_not_here_is_told_and_the_prompt_taken(
    changes: dict[str, object], sentence: str, new_person: NewPerson, tmp_path: Path
) -> None:
    page = new_person()
    drop(page, picture(tmp_path, **changes))

    expect(page.get_by_role("alert").get_by_text(sentence)).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("ein grüner Kreis")


def test_a_file_without_parameters_is_told(new_person: NewPerson, tmp_path: Path) -> None:
    page = new_person()
    (tmp_path / "holiday.png").write_bytes(pictures.png(np.zeros((16, 16, 3), np.uint8)))
    drop(page, tmp_path / "holiday.png")
    expect(page.get_by_text("There is no recipe in this file")).to_be_visible()

    drop(page, picture(tmp_path))
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("ein grüner Kreis")


def test_a_preset_is_saved_chosen_and_deleted(new_person: NewPerson) -> None:
    page = new_person()
    set_number(page, "Steps", "12")
    page.get_by_role("button", name="Save as preset").click()
    page.get_by_role("textbox", name="Name").fill("my sketches")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Kept as “my sketches”.")).to_be_visible()

    page.reload()
    set_number(page, "Steps", "99")
    set_number(page, "Seed", "7")
    page.get_by_role("button", name="Presets").click()
    page.get_by_text("my sketches · yours").click()
    expect(page.get_by_text("The parameters are those of “my sketches”.")).to_be_visible()
    expect(number(page, "Steps")).to_have_value("12")
    expect(number(page, "Seed")).to_have_value("7")

    page.get_by_role("button", name="Save as preset").click()
    page.get_by_role("button", name="Delete “my sketches”").click()
    expect(page.get_by_role("button", name="Delete “my sketches”")).to_have_count(0)


def test_several_pictures_are_asked_for_with_seeds_that_follow_each_other(new_person: NewPerson) -> None:
    page = new_person()
    page.get_by_label("Prompt", exact=True).fill("three boats on the sea")
    set_number(page, "Seed", "4294967295")
    set_number(page, "Pictures", "3")
    page.get_by_role("button", name="Generate").click()

    expect(stage(page).get_by_text("three boats on the sea", exact=True)).to_be_visible()
    expect(page.locator('[class*="st-key-card-own-"]')).to_have_count(3)
    jobs = json.loads(page.request.get("/api/jobs?mine=true").text())["items"]
    assert sorted(job["parameters"]["seed"] for job in jobs) == [0, 1, 4294967295]
