import sys
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

import db
from generators import registry
from generators.contract import Frame
from jobs.chronicle import Chronicle
from jobs.executor import Executor
from jobs.executors import Executors
from jobs.figures import Watch
from jobs.gallery import Gallery
from jobs.moderation import Moderation
from jobs.painter import Painter
from jobs.people import Members, Role
from jobs.presets import Presets
from jobs.queue import Queue
from jobs.records import Job
from jobs.reports import Reports
from jobs.retention import Retention
from jobs.tokens import Tokens
from jobs.uploads import Uploads
from jobs.votes import Votes
from settings import ExecutorSettings, LimitSettings
from store import ArtifactStore
from tests.conftest import NewDatabase
from web import studio
from web.api import create_api
from web.limits import Limits
from web.permissions import Caller, Openness, Rules
from web.person import RememberPerson
from weights import catalogue
from weights.desk import WeightsDesk
from weights.store import Store

RULES = Rules(Openness.OWN_MACHINE)
LIMIT = 5
"""How many waiting jobs a person may have here."""


@pytest.fixture(autouse=True)
def main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's ``AppTest`` leaves a script of its own as the main module, which spawned processes run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def database_url(new_sqlite: NewDatabase, tmp_path: Path) -> Iterator[str]:
    """The pages show what they are given; that the queue gives it on PostgreSQL too is tested below them."""
    with new_sqlite(tmp_path) as url:
        yield url


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[studio.Studio]:
    """A studio on a database and a folder of its own; the pages and the API use it."""
    engine = db.open_engine(database_url)
    store = ArtifactStore(str(tmp_path / "artifacts"))
    opened = studio.Studio(
        queue=Queue(engine, lease_seconds=30, max_attempts=3, max_waiting_per_person=LIMIT),
        executors=Executors(engine, alive_seconds=30),
        artifacts=store,
        uploads=Uploads(store),
        gallery=Gallery(engine, store),
        votes=Votes(engine),
        presets=Presets(engine),
        generators=registry.GENERATORS,
        parse_spec=registry.parse_spec,
        weights=WeightsDesk(Store(tmp_path / "weights", catalogue.entries())),
        rules=RULES,
        limits=Limits(LimitSettings(), RULES),
        members=Members(engine),
        tokens=Tokens(engine),
        reports=Reports(engine),
        moderation=Moderation(),
        unknown_words=lambda _weights, prompt: [word for word in prompt.split() if word == "zebra"],
        memory_need=partial(registry.memory_need, weights_dir=registry.DEFAULT_WEIGHTS),
        least_memory=registry.least_memory,
        watch=Watch(engine),
        retention=Retention(engine, store, 0),
        chronicle=Chronicle(engine),
        check_database=partial(db.check, engine),
    )
    studio.use(lambda: opened)
    yield opened
    engine.dispose()


@pytest.fixture
def new_client(house: studio.Studio) -> Iterator[Callable[..., TestClient]]:
    """Opens the API as another person each time, by the rules of the house or others."""
    clients: list[TestClient] = []

    def open_as_new_person(rules: Rules = house.rules) -> TestClient:
        clients.append(TestClient(RememberPerson(create_api(), rules, Limits(LimitSettings(), rules))))
        return clients[-1]

    yield open_as_new_person
    for client in clients:
        client.close()


@pytest.fixture
def client(new_client: Callable[..., TestClient]) -> TestClient:
    return new_client()


@pytest.fixture
def draw(house: studio.Studio) -> Callable[[str], None]:
    """A real executor that works on one job until it has ended."""

    def work_on(job_id: str) -> None:
        executor = Executor(
            house.queue,
            house.executors,
            house.artifacts,
            Painter(_paint, lambda job: {"generator": job.generator, "spec": job.spec}),
            ExecutorSettings(poll_seconds=0.01),
            device="cpu",
            threads=1,
        )
        executor.run(threading.Event(), job_id=job_id)

    return work_on


SOMEONE = Caller("someone", Role.VISITOR, RULES.rights_of(Role.VISITOR))


def _paint(job: Job, _checkpoint: bytes | None) -> Generator[Frame, None, None]:
    steps = job.parameters["steps"]
    size = job.parameters["height"], job.parameters["width"], 3
    for step in range(steps + 1):
        yield Frame(np.full(size, 255 * step // max(steps, 1), np.uint8), step, steps, {"loss": steps - step})
