"""Going on from a finished picture: the links fill the form with what they promise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from streamlit.testing.v1 import AppTest

from generators.registry import GENERATORS
from jobs.records import Job
from settings import ROOT
from tests.web.conftest import SOMEONE
from web import studio
from web.studio import Studio

Draw = Callable[[str], None]
SCOPE = "vqgan_clip.sandbox"


@pytest.fixture
def job(house: Studio, draw: Draw) -> Job:
    asked = {"prompt": "a red circle", "steps": 3, "seed": 7, "width": 64, "height": 64, "zoom": 1.5}
    (job,) = house.submit("vqgan_clip", asked, SOMEONE)
    draw(job.id)
    return house.queue.get(job.id)


def follow(way: str, job_id: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "web" / "main.py"), default_timeout=60)
    page.query_params[way] = job_id
    page.run()
    assert not page.exception
    return page


def filled(page: AppTest, *names: str) -> list[Any]:
    return [page.session_state[f"{SCOPE}.{name}"] for name in names]


def test_the_same_parameters(house: Studio, job: Job) -> None:
    page = follow("like", job.id)

    assert page.session_state["prompt"] == "a red circle"
    assert filled(page, "steps", "seed", "zoom", "start_image") == [3, 7, 1.5, None]
    assert {group.label for group in page.expander if group.proto.expanded} == {"Camera · 1 changed"}


def test_continuing_begins_with_the_picture(house: Studio, job: Job) -> None:
    page = follow("continue", job.id)

    start, *others = filled(page, "start_image", "steps", "seed", "zoom", "start_afresh")
    assert others == [3, 7, 1.5, 0.0]
    assert house.uploads.pixels(start).shape == (64, 64, 3)
    assert [component.proto.component_name for component in page.get("bidi_component")] == ["mask_canvas"]


def test_variations_are_half_afresh_with_another_seed(house: Studio, job: Job) -> None:
    page = follow("vary", job.id)

    start, *others = filled(page, "start_image", "steps", "seed", "start_afresh")
    assert others == [3, None, 0.5]
    assert house.uploads.has(start)


def test_what_was_typed_before_does_not_stay(house: Studio, job: Job) -> None:
    page = follow("vary", job.id)
    page.query_params["like"] = job.id
    page.run()

    assert filled(page, "start_image", "seed", "start_afresh") == [None, 7, 0.0]


def test_a_generator_that_begins_with_no_image_hands_over_to_one_that_does(
    house: Studio, draw: Draw, job: Job
) -> None:
    class Crayons(BaseModel):
        prompt: str
        weights: str
        seed: int

    crayons = replace(GENERATORS["vqgan_clip"], spec=Crayons)
    studio.use(lambda: replace(house, generators={"crayons": crayons, **house.generators}))
    drawn = house.queue.enqueue("crayons", job.spec, submitter="someone")
    draw(drawn.id)

    page = follow("continue", drawn.id)

    assert page.session_state["generator"] == "vqgan_clip"
    assert page.session_state["prompt"] == "a red circle"
    start, *others = filled(page, "start_image", "steps", "zoom")
    assert others == [30, 1.0], "the parameters are the other generator's own"
    assert house.uploads.has(start)


def test_a_deleted_picture_is_told(house: Studio, job: Job) -> None:
    page = follow("continue", "gone")

    assert page.toast[0].value.startswith("There is no job gone")


def test_the_form_tells_the_memory_that_it_needs(house: Studio) -> None:
    needs = replace(house, memory_need=lambda _, asked: 10**7 * asked["width"])
    studio.use(lambda: needs)
    page = AppTest.from_file(str(ROOT / "web" / "main.py"), default_timeout=60).run()

    assert "Needs about 1.3 GB of memory." in [caption.value for caption in page.caption]
    page.number_input(key=f"{SCOPE}.width").set_value(1024).run()
    assert "Needs about 10 GB of memory." in [caption.value for caption in page.caption]
