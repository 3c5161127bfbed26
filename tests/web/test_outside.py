"""What is seen from outside: health, readiness and metrics, on a real database and a real store."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.testclient import TestClient

import db
from settings import ROOT, LimitSettings
from store import ArtifactStore
from web import health, metrics, studio
from web.health import KEPT_SECONDS, Part
from web.limits import Limits
from web.permissions import Openness, Rules
from web.person import RememberPerson
from web.studio import Studio

SPEC = {"prompt": "a red circle", "weights": "sandbox", "steps": 4, "width": 16, "height": 16}


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Part]:
    return {
        "database": Part("database", lambda: studio.current().check_database()),
        "store": Part("store", lambda: ArtifactStore(str(tmp_path / "artifacts")).check()),
    }


@pytest.fixture
def outside(parts: dict[str, Part]) -> Iterator[TestClient]:
    with TestClient(served(*health.routes(parts), metrics.route(parts))) as client:
        yield client


def served(*routes: Route) -> Starlette:
    """To whoever works on the studio's own machine."""
    rules = Rules(Openness.OWN_MACHINE)
    knowing = Middleware(RememberPerson, rules=rules, limits=Limits(LimitSettings(), rules))
    return Starlette(routes=routes, middleware=[knowing])


def figures(text: str) -> dict[str, float]:
    """``studio_jobs{queued}`` and the like."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        sample.name + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for sample in samples
    }


def test_a_studio_in_order_is_alive_and_ready(house: Studio, outside: TestClient) -> None:
    assert outside.get("/health").json() == {"alive": True}
    answer = outside.get("/ready")

    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "checks": [
            {"name": "database", "ready": True, "sentence": "The database can be used."},
            {"name": "store", "ready": True, "sentence": "The store can be used."},
        ],
    }


def test_a_store_that_cannot_be_written_is_named(house: Studio, outside: TestClient, tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file where the folder should be")

    answer = outside.get("/ready")

    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    database, store = answer.json()["checks"]
    assert database["ready"]
    assert not store["ready"]
    assert f"The artifact store {tmp_path}/artifacts cannot be" in store["sentence"]
    assert outside.get("/health").status_code == 200


def test_a_database_without_this_versions_tables_is_not_ready(tmp_path: Path) -> None:
    engine = db.open_engine(f"sqlite:///{tmp_path}/bare.db")
    parts = {"database": Part("database", lambda: db.check(engine))}
    with TestClient(Starlette(routes=health.routes(parts))) as outside:
        answer = outside.get("/ready")
    engine.dispose()

    assert answer.status_code == 503
    sentence = answer.json()["checks"][0]["sentence"]
    assert sentence.startswith(f"The database {tmp_path}/bare.db has no tables of this version: restart")


def test_what_does_not_answer_is_asked_by_one_thread_only() -> None:
    awake, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        awake.wait()

    part = Part("store", hang)
    try:
        found = [part.find(patience_seconds=0.01) for _ in range(3)]
    finally:
        awake.set()

    assert {finding.sentence for finding in found} == {"The store does not answer: see whether it runs."}
    assert (asked, part.find().ready) == ([1], True)


def test_many_who_ask_cost_no_more_than_one() -> None:
    asked, seconds = [], [0.0]
    part = Part("store", lambda: asked.append(1), clock=lambda: seconds[-1])

    for now, times in ((0.0, 1), (0.1, 1), (KEPT_SECONDS - 0.1, 1), (KEPT_SECONDS, 2)):
        seconds.append(now)
        assert part.find().ready
        assert len(asked) == times


def test_one_scrape_tells_of_the_queue_the_executors_and_what_was_drawn(
    house: Studio, outside: TestClient, draw: Callable[[str], None]
) -> None:
    drawn, _ = house.queue.enqueue_all("vqgan_clip", [SPEC, SPEC], submitter="ann")
    draw(drawn.id)
    house.executors.register("one", device="cpu", threads=2)
    failing = house.queue.claim("one")
    assert failing is not None
    house.queue.fail(failing, "There is not enough memory for this picture: make it smaller.")

    told = figures(outside.get("/metrics").text)

    assert told["studio_up{database}"] == told["studio_up{store}"] == 1
    assert told["studio_jobs{queued}"] == told["studio_jobs{running}"] == 0
    assert told["studio_jobs{succeeded}"] == told["studio_jobs{failed}"] == 1
    assert told["studio_oldest_job_age_seconds{queued}"] == 0
    assert told["studio_jobs_submitted_total"] == 2
    assert told["studio_jobs_finished_total{succeeded}"] == 1
    assert told["studio_claims_total"] == 2
    assert told["studio_attempts_total{failed}"] == told["studio_attempts_total{succeeded}"] == 1
    assert (told["studio_attempts_total{lost}"], told["studio_votes_total"]) == (0, 0)
    assert (told["studio_failures_total{memory}"], told["studio_failures_total{generator}"]) == (1, 0)
    assert told["studio_recent_waiting_seconds{0.5}"] >= 0
    assert told["studio_recent_drawing_seconds{vqgan_clip,0.9}"] > 0
    assert told["studio_recent_step_seconds{vqgan_clip,0.9}"] > 0
    assert told["studio_executors{ready}"] == 1
    assert told["studio_executor_resident_bytes{cpu,one}"] > 10**6


def test_the_metrics_come_as_whoever_asks_reads_them(house: Studio, outside: TestClient) -> None:
    answer = outside.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "studio_jobs" in {family.name for family in open_metrics(answer.text)}


def test_without_a_database_the_metrics_say_that_it_is_down(outside: TestClient, tmp_path: Path) -> None:
    engine = db.open_engine(f"sqlite:///{tmp_path}/no/such/folder.db")
    bare = {"database": Part("database", lambda: db.check(engine))}
    with TestClient(served(metrics.route(bare))) as outside:
        answer = outside.get("/metrics")
    engine.dispose()

    assert (answer.status_code, figures(answer.text)) == (200, {"studio_up{database}": 0})


@pytest.mark.parametrize(
    ("argument", "told"),
    [("--public", "--public"), ("web.host=0.0.0.0", "nobody has said who may use it")],
)
def test_the_web_server_says_which_argument_it_cannot_use(argument: str, told: str, tmp_path: Path) -> None:
    command = [sys.executable, "webapp.py", f"data_dir={tmp_path}", argument]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
