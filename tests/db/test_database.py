import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, insert, inspect, select
from sqlalchemy.engine import make_url

import db
from db import tables
from settings import ROOT
from tests.jobs.black_hole import black_hole
from tests.jobs.processes import wait_until
from tests.postgresql import Cluster, running_cluster

Writer = AbstractContextManager[Connection | db.Direct]

_EXECUTOR = ("id", "device", "threads", "pid", "host", "started_at", "seen_at")
ADD = db.Prepared(insert(tables.executors).inline(), columns=_EXECUTOR)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "studio.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield request.getfixturevalue("url")
    else:
        with request.getfixturevalue("cluster").database(migrated=False) as url:
            yield url


@pytest.fixture
def any_engine(new_url: str) -> Iterator[Engine]:
    """On SQLite or PostgreSQL."""
    db.migrate(new_url)
    engine = db.open_engine(new_url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """On SQLite."""
    db.migrate(url)
    engine = db.open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(cluster: Cluster) -> Iterator[str]:
    with cluster.database() as url:
        yield url


def executor_row(name: str, when: datetime) -> dict[str, object]:
    row = {"device": "cpu", "threads": 1, "pid": 1, "host": "here"}
    return {"id": name, "started_at": when, "seen_at": when, **row}


def running_job() -> dict[str, object]:
    asked = {"generator": "numpy", "weights": "sandbox", "prompt": "a circle", "parameters": {}}
    place = {"submitter": "ann", "state": "running", "priority": 0, "turn": 1, "attempts": 1}
    marks = {"max_attempts": 3, "cancel_requested": False, "untidy": True, "created_at": datetime.now(UTC)}
    return {"id": "one", "token": "token", "executor": "one", "beats": 7} | asked | place | marks


def names(engine: Engine) -> list[str]:
    with db.reading(engine) as connection:
        return list(connection.execute(select(tables.executors.c.id)).scalars())


def test_the_migrations_build_what_the_tables_say(any_engine: Engine) -> None:
    with db.reading(any_engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_migrating_twice_keeps_the_data(any_engine: Engine, new_url: str) -> None:
    with db.writing(any_engine) as connection:
        connection.execute(insert(tables.executors), executor_row("one", datetime.now(UTC)))

    db.migrate(new_url)

    assert names(any_engine) == ["one"]


def test_going_back_a_version_and_forth_again_keeps_the_jobs(any_engine: Engine) -> None:
    with db.writing(any_engine) as connection:
        connection.execute(insert(tables.jobs), running_job())
    config = Config()
    config.set_main_option("script_location", str(Path(db.__file__).with_name("migrations")))
    for go, version in ((command.downgrade, "0002"), (command.upgrade, "head")):
        with db.writing(any_engine) as connection:
            config.attributes["connection"] = connection
            go(config, version)
            if version == "0002":
                expires = connection.exec_driver_sql("SELECT lease_expires_at FROM jobs").scalar()
                assert expires is not None, "a running job can be taken back there too"

    with db.reading(any_engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert connection.execute(select(tables.jobs.c.id, tables.jobs.c.beats)).all() == [("one", 0)]


def test_every_migration_can_be_taken_back(any_engine: Engine, new_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "db" / "migrations"))
    for revision in [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]:
        with db.writing(any_engine) as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "-1")
            assert MigrationContext.configure(connection).get_current_revision() != revision
    with db.reading(any_engine) as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]

    db.migrate(new_url)

    assert names(any_engine) == []


def test_processes_that_start_together_migrate_once(new_url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        list(processes.map(db.migrate, [new_url] * 8))

    assert names(db.open_engine(new_url)) == []


def test_only_what_must_outlive_a_power_cut_waits_for_the_disk(engine: Engine) -> None:
    normal, full = 1, 2
    for lasting in (True, False, False, True):
        with db.writing(engine, lasting=lasting) as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            flushes = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        assert flushes == (full if lasting else normal)


def test_a_failed_write_leaves_nothing(any_engine: Engine) -> None:
    row = executor_row("one", datetime.now(UTC))

    with pytest.raises(db.DatabaseError), db.writing(any_engine) as connection:  # noqa: PT012
        connection.execute(insert(tables.executors), row)
        connection.exec_driver_sql("SELECT * FROM nowhere")

    assert names(any_engine) == []


def test_readers_see_one_moment_while_others_write(any_engine: Engine) -> None:
    with db.reading(any_engine) as reader:
        reader.execute(select(tables.executors)).all()
        with db.writing(any_engine) as connection:
            connection.execute(insert(tables.executors), executor_row("one", datetime.now(UTC)))
        assert reader.execute(select(tables.executors)).all() == []

    assert names(any_engine) == ["one"]


def test_moments_come_back_in_utc(any_engine: Engine) -> None:
    moment = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    with db.writing(any_engine) as connection:
        connection.execute(insert(tables.executors), executor_row("one", moment))

    with db.reading(any_engine) as connection:
        seen = connection.execute(select(tables.executors.c.seen_at)).scalar_one()
    assert (seen, seen.tzinfo) == (moment, UTC)


def test_a_locked_database_is_told(engine: Engine, file: Path, url: str) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = db.open_engine(url, busy_seconds=0.05)

    with pytest.raises(db.DatabaseError, match="is locked by another program"), db.writing(impatient):
        pass

    other.execute("COMMIT")
    with db.writing(impatient):
        pass


def test_a_read_only_database_is_told_and_can_be_read(engine: Engine, file: Path) -> None:
    read_only = f"sqlite:///file:{file}?mode=ro&uri=true"
    db.migrate(read_only)  # nothing to do, so nothing fails

    with (
        pytest.raises(db.DatabaseError, match="is read-only: give this user the right"),
        db.writing(db.open_engine(read_only)) as connection,
    ):
        connection.execute(insert(tables.executors), executor_row("one", datetime.now(UTC)))

    assert names(db.open_engine(read_only)) == []


def test_a_database_of_a_newer_version_is_told(any_engine: Engine, new_url: str) -> None:
    with db.writing(any_engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(db.DatabaseError, match="made by a newer version of this program"):
        db.migrate(new_url)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_bytes(b"This is a letter, not a database. " * 100)

    with pytest.raises(db.DatabaseError, match="cannot be opened .*file is not a database"):
        db.migrate(f"sqlite:///{tmp_path}/studio.db")


@pytest.mark.parametrize("url", ["no address at all", "nosuchdatabase://here/there"])
def test_an_address_of_no_database_is_told(url: str) -> None:
    with pytest.raises(db.DatabaseError, match="cannot be opened"):
        db.migrate(url)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(db.DatabaseError, match="cannot be opened .*check database_url"):
        db.migrate(f"sqlite:///{tmp_path}/file/studio.db")


def test_a_database_without_tables_is_told(tmp_path: Path) -> None:
    with pytest.raises(db.DatabaseError, match="has no tables yet"):
        names(db.open_engine(f"sqlite:///{tmp_path}/empty.db"))


def test_a_full_disk_is_told(engine: Engine) -> None:
    with (  # noqa: PT012
        pytest.raises(db.DatabaseError, match="is full: free some space"),
        db.writing(engine) as connection,
    ):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        for n in range(1000):
            connection.execute(insert(tables.executors), executor_row(f"{n}" * 100, datetime.now(UTC)))


def test_a_damaged_file_is_told(engine: Engine, file: Path, url: str) -> None:
    with db.reading(engine) as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)

    with pytest.raises(db.DatabaseError, match="is damaged: restore it"):
        names(db.open_engine(url))


def test_a_table_locked_by_another_program_is_told(postgresql: str) -> None:
    impatient = db.open_engine(postgresql, busy_seconds=0.05)
    row = executor_row("one", datetime.now(UTC))

    with db.writing(db.open_engine(postgresql)) as connection:
        connection.exec_driver_sql("LOCK TABLE executors")
        with (  # noqa: PT012
            pytest.raises(db.DatabaseError, match="is locked by another program"),
            db.writing(impatient) as waiting,
        ):
            waiting.execute(insert(tables.executors), row)

    with db.writing(impatient) as connection:
        connection.execute(insert(tables.executors), row)


def test_only_what_must_outlive_a_power_cut_waits_for_postgresqls_disk(tmp_path: Path) -> None:
    with running_cluster(lasting=True) as cluster:
        engine = db.open_engine(cluster.url())
        for lasting in (True, False, False, True):
            with db.writing(engine, lasting=lasting) as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == (
                    "on" if lasting else "off"
                )


def test_a_reader_cannot_write(postgresql: str) -> None:
    with (
        pytest.raises(db.DatabaseError, match="is read-only"),
        db.reading(db.open_engine(postgresql)) as connection,
    ):
        connection.execute(insert(tables.executors), executor_row("one", datetime.now(UTC)))


@pytest.mark.parametrize("write", [db.writing, db.writing_directly])
def test_a_writer_that_is_frozen_keeps_nobody_waiting(
    postgresql: str, cluster: Cluster, write: Callable[[Engine], Writer]
) -> None:
    """Its transaction is taken from it; without that its locks would hold the others up."""
    lock = db.Prepared(select(func.pg_advisory_xact_lock(7).label("locked")))
    free = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    soon = make_url(postgresql).update_query_dict({"options": "-c idle_in_transaction_session_timeout=300ms"})

    def freeze() -> None:
        with write(db.open_engine(soon.render_as_string(hide_password=False))) as connection:
            lock.run(connection, {})
            wait_until(lambda: cluster.execute(free) == [(0,)], "its locks are free", seconds=20)
            lock.run(connection, {})

    with pytest.raises(db.DatabaseError, match="was cut"):
        freeze()


def test_an_idle_writer_has_ten_seconds_and_a_reader_all_the_time(postgresql: str) -> None:
    engine = db.open_engine(postgresql)
    shown = "SHOW idle_in_transaction_session_timeout"
    with db.writing(engine) as connection:
        assert connection.exec_driver_sql(shown).scalar() == "10s"
    with db.reading(engine) as connection:
        assert connection.exec_driver_sql(shown).scalar() == "0"


def test_a_transaction_stands_though_nobody_can_be_told(postgresql: str, cluster: Cluster) -> None:
    """PostgreSQL refuses to notify channels with longer names than it has room for."""
    engine = db.open_engine(postgresql)
    for write, name in ((db.writing, "one"), (db.writing_directly, "two")):
        with write(engine) as connection:
            ADD.send(connection, executor_row(name, datetime.now(UTC)))
            db.tell(connection, "x" * 1000)
    assert names(engine) == ["one", "two"]


def test_a_server_that_hangs_is_told_and_asked_again(cluster: Cluster, postgresql: str) -> None:
    with black_hole(cluster.port) as way:
        patience = {"answer_seconds": "0.3", "connect_timeout": "2"}
        url = make_url(postgresql).set(port=way.port).update_query_dict(patience)
        engine = db.open_engine(url.render_as_string(hide_password=False))
        assert names(engine) == []

        way.swallow()
        for _ in range(2):  # on a connection that is there, and on a new one
            with pytest.raises(db.DatabaseError, match="No server answers at postgresql"):
                names(engine)
        with pytest.raises(db.DatabaseError, match="No server"), db.writing(engine):
            pass
        way.heal()

        assert names(engine) == []
        engine.dispose()


def test_patience_that_is_no_number_is_told(postgresql: str) -> None:
    with pytest.raises(db.DatabaseError, match="cannot be opened .*'long'.*check database_url"):
        db.open_engine(f"{postgresql}?answer_seconds=long")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"port": 1}, "No server answers at postgresql"),
        ({"database": "nowhere"}, "has no such database: create it with createdb"),
        ({"username": "nobody"}, "does not let this user in: check the user and the password"),
        ({"host": "no.such.host.invalid"}, "No server answers at postgresql"),
    ],
)
def test_what_hinders_the_way_to_postgresql_is_told(
    postgresql: str, change: dict[str, Any], sentence: str
) -> None:
    url = make_url(postgresql).set(**change).render_as_string(hide_password=False)

    with pytest.raises(db.DatabaseError, match=sentence):
        db.migrate(url)


def test_a_wrong_password_is_told_and_not_shown(cluster: Cluster, postgresql: str) -> None:
    cluster.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
    try:
        with cluster.asking_for_password("locked"):
            url = (
                make_url(postgresql)
                .set(username="locked", password="wrong")
                .render_as_string(hide_password=False)
            )
            with pytest.raises(db.DatabaseError, match="does not let this user in") as told:
                db.migrate(url)
    finally:
        cluster.execute("DROP ROLE locked")
    assert "wrong" not in str(told.value)


def test_a_server_without_a_connection_left_is_told(cluster: Cluster, postgresql: str) -> None:
    cluster.execute("CREATE ROLE crowd LOGIN CONNECTION LIMIT 1")
    try:
        engine = db.open_engine(
            make_url(postgresql).set(username="crowd").render_as_string(hide_password=False)
        )
        with (
            pytest.raises(db.DatabaseError, match="has no connection left"),
            db.reading(engine),
            db.reading(engine),
        ):
            pass
        engine.dispose()
    finally:
        cluster.execute("DROP ROLE crowd")
