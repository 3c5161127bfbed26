"""The pages on an empty studio, run without a browser."""

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from generators import registry
from jobs.records import Capabilities
from settings import ROOT
from tests.web.conftest import RULES, SOMEONE
from web import studio
from web.permissions import Openness, Rules
from web.studio import Studio

EMPTY = {
    "generate.py": ("Your picture forms here", "press Generate"),
    "gallery.py": ("No pictures yet", "The first one that you generate"),
    "vote.py": ("Two pictures are needed", "Generate some"),
    "weights.py": ("VQGAN ImageNet 16384", "not installed", "SigLIP"),
    "system.py": ("No executor is running", "Start one with ./run_executor.sh"),
    "account.py": ("On your own machine", "install and remove weights"),
    "admin.py": ("Nothing is reported", "Nobody has signed in"),
}


@pytest.mark.parametrize("file", EMPTY)
def test_an_empty_page_says_what_to_do(file: str, house: Studio) -> None:
    page = AppTest.from_file(str(ROOT / "web" / "main.py")).switch_page(file).run(timeout=60)
    assert not page.exception
    shown = " ".join(html.value for html in page.main.html)
    for words in EMPTY[file]:
        assert words in shown


def test_without_any_weights_the_page_says_how_to_get_some(house: Studio, tmp_path: Path) -> None:
    bare = replace(house, generators=registry.generators(tmp_path))
    studio.use(lambda: bare)
    page = AppTest.from_file(str(ROOT / "web" / "main.py")).run(timeout=60)
    assert not page.exception
    assert page.error[0].value == "No weights are installed: `python -m weights list` shows what there is."


@pytest.mark.parametrize("rules", [RULES, Rules(Openness.PUBLIC, visitors_draw=False)])
def test_a_recipe_is_taken_from_who_may_draw(house: Studio, rules: Rules) -> None:
    studio.use(lambda: replace(house, rules=rules))
    page = AppTest.from_file(str(ROOT / "web" / "main.py")).run(timeout=60)
    labels = {uploader.proto.label for uploader in page.get("file_uploader")}
    assert ("Drop a picture to get its parameters" in labels) is rules.visitors_draw


def test_unknown_words_are_told(house: Studio) -> None:
    page = AppTest.from_file(str(ROOT / "web" / "main.py")).run(timeout=60)
    page.text_area(key="prompt").set_value("a zebra in a meadow").run(timeout=60)
    assert "do not know “zebra”" in page.info[0].value


def test_a_waiting_job_that_nobody_can_draw_says_what_is_missing(house: Studio) -> None:
    unequipped = Capabilities(weights=frozenset({"another set"}))
    house.executors.register("one", device="cpu", threads=1, able=unequipped)
    (job,) = house.submit("vqgan_clip", {"prompt": "a red circle"}, SOMEONE)
    page = AppTest.from_file(str(ROOT / "web" / "main.py"))
    page.query_params["job"] = job.id
    page.run(timeout=60)
    assert not page.exception
    assert f"No running executor has the weights '{job.weights}'" in page.warning[0].value
    assert job.needs_memory > 0


def test_the_queue_is_paused_and_resumed_on_the_system_page(house: Studio) -> None:
    house.submit("vqgan_clip", {"prompt": "a red circle"}, SOMEONE)
    page = AppTest.from_file(str(ROOT / "web" / "main.py")).switch_page("system.py").run(timeout=60)
    _button(page, "Pause the queue").click().run(timeout=60)
    assert "The queue is paused" in page.info[0].value
    assert house.queue.claim("executor") is None

    _button(page, "Resume the queue").click().run(timeout=60)
    assert not page.info
    assert house.queue.claim("executor") is not None


def test_a_waiting_job_says_that_the_queue_is_paused(house: Studio) -> None:
    (job,) = house.submit("vqgan_clip", {"prompt": "a red circle"}, SOMEONE)
    house.queue.pause("ann")
    page = AppTest.from_file(str(ROOT / "web" / "main.py"))
    page.query_params["job"] = job.id
    page.run(timeout=60)
    assert "The queue is paused" in page.info[0].value


def _button(page: AppTest, label: str) -> Button:
    (button,) = [button for button in page.button if button.label == label]
    return button
