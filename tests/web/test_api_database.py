"""What the API says where its database, a file, cannot be used."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import Engine

import db
from jobs.queue import Queue
from tests.web.conftest import LIMIT
from tests.web.test_api import SPEC, submit
from web import studio
from web.studio import Studio


def test_a_database_that_cannot_be_used_is_told_and_comes_back(
    client: TestClient, house: Studio, tmp_path: Path
) -> None:
    """The studio cannot be opened; nothing is restarted when the database is mended."""
    url = f"sqlite:///{tmp_path}/newer.db"
    db.migrate(url)
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        (known,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = 'from the future'")

    def open_studio() -> Studio:
        db.migrate(url)
        return house

    studio.use(open_studio)
    answer = client.get("/jobs")
    assert answer.status_code == 503
    assert "made by a newer version" in answer.json()["error"]

    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (known,))
    assert client.get("/jobs").status_code == 200


def test_a_read_only_database_is_told(client: TestClient, house: Studio, tmp_path: Path) -> None:
    submit(client)
    read_only = db.open_engine(f"sqlite:///file:{tmp_path}/studio.db?mode=ro&uri=true")
    use_queue_on(house, read_only)
    assert client.get("/jobs").json()["total"] == 1
    assert "read-only" in told_as_unavailable(client)


def test_a_locked_database_is_told(client: TestClient, house: Studio, tmp_path: Path) -> None:
    use_queue_on(house, db.open_engine(f"sqlite:///{tmp_path}/studio.db", busy_seconds=0.1))
    with closing(sqlite3.connect(tmp_path / "studio.db", isolation_level=None)) as other_program:
        other_program.execute("BEGIN IMMEDIATE")
        assert "locked by another program" in told_as_unavailable(client)
    submit(client)


def use_queue_on(house: Studio, engine: Engine) -> None:
    queue = Queue(engine, lease_seconds=30, max_attempts=3, max_waiting_per_person=LIMIT)
    studio.use(lambda: replace(house, queue=queue))


def told_as_unavailable(client: TestClient) -> str:
    answer = client.post("/jobs", json={"generator": "vqgan_clip", "parameters": SPEC})
    assert answer.status_code == 503
    return str(answer.json()["error"])
