"""A job's history and stars, on the pages and over the API."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert
from streamlit.testing.v1 import AppTest

from db import writing
from db.tables import attempts
from jobs.retention import Retention
from settings import ROOT
from web import studio
from web.studio import Studio

SPEC = {"prompt": "a red circle", "weights": "sandbox", "steps": 4, "width": 16, "height": 16}


@pytest.fixture
def drawn(house: Studio, draw: Callable[[str], None]) -> str:
    job = house.queue.enqueue("vqgan_clip", SPEC, submitter="ann")
    _was_lost(house.queue._engine, job.id)
    draw(job.id)
    return job.id


def _was_lost(engine: Engine, job_id: str) -> None:
    now = datetime.now(UTC)
    row = {"job_id": job_id, "executor": "<b>one</b>", "started_at": now, "ended_at": now, "outcome": "lost"}
    with writing(engine) as connection:
        connection.execute(insert(attempts), row)


def opened(file: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "web" / "main.py"))
    for name, value in query.items():
        page.query_params[name] = value
    page.switch_page(file).run(timeout=60)
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    return " ".join(html.value for html in page.main.html)


def test_the_api_tells_a_jobs_history(client: TestClient, drawn: str) -> None:
    events = client.get(f"/jobs/{drawn}/history").json()

    assert [event["kind"] for event in events] == ["asked", "started", "lost", "started", "succeeded"]
    assert events[0]["at"].endswith("Z")
    assert events[-1]["seconds"] >= 0
    assert client.get("/jobs/nothing/history").status_code == 404


def test_a_jobs_page_tells_its_history(house: Studio, drawn: str) -> None:
    text = shown(opened("generate.py", job=drawn))

    assert text.index("Asked for") < text.index("Lost: its executor fell silent") < text.index("Finished")
    assert "&lt;b&gt;one" in text
    assert "<b>one" not in text


def test_a_waiting_jobs_page_tells_its_history_too(house: Studio) -> None:
    job = house.queue.enqueue("vqgan_clip", SPEC, submitter="ann")

    assert "Asked for" in shown(opened("generate.py", job=job.id))


def test_stars_are_given_and_taken_back_over_the_api(
    new_client: Callable[[], TestClient], drawn: str
) -> None:
    ann, bob = new_client(), new_client()

    assert ann.put(f"/jobs/{drawn}/star").json() == {"count": 1, "mine": True}
    assert bob.get(f"/jobs/{drawn}/star").json() == {"count": 1, "mine": False}
    assert [job["id"] for job in ann.get("/stars").json()["items"]] == [drawn]
    assert bob.get("/stars").json()["total"] == 0
    assert ann.delete(f"/jobs/{drawn}/star").json() == {"count": 0, "mine": False}
    assert ann.put("/jobs/nothing/star").status_code == 404


def test_a_picture_is_starred_in_the_gallery(house: Studio, drawn: str) -> None:
    page = opened("gallery.py")
    assert page.button(key=f"star-{drawn}").label == "☆"

    page.button(key=f"star-{drawn}").click().run(timeout=60)
    assert page.button(key=f"star-{drawn}").label == "★ 1"
    assert house.gallery.stars([drawn], "somebody")[drawn].count == 1

    page.toggle(key="starred").set_value(True).run(timeout=60)
    page.button(key=f"star-{drawn}").click().run(timeout=60)
    assert "Nothing matches" in shown(page)


def test_the_system_page_tells_what_is_kept_and_what_would_go(house: Studio, drawn: str) -> None:
    captions = " ".join(caption.value for caption in opened("system.py").caption)
    assert "Everything is kept" in captions

    keeping = replace(
        house,
        retention=Retention(
            house.queue._engine, house.artifacts, 3, clock=lambda: datetime(2999, 1, 1, tzinfo=UTC)
        ),
    )
    studio.use(lambda: keeping)
    text = shown(opened("system.py"))
    assert "<strong>3</strong><span>days that results are kept</span>" in text
    assert "<strong>1</strong><span>results would go now</span>" in text
