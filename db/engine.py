"""Opens databases; every statement of the house runs inside ``reading`` or ``writing``."""

import random
import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import URL, Connection, Dialect, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InvalidatePoolError, TimeoutError

from db import errors
from db.patience import PatientConnection

BUSY_SECONDS = 10.0
"""How long a statement waits for another writer before the database counts as locked."""

ANSWER_SECONDS = 30.0
"""How long PostgreSQL may take for one answer before it counts as gone, though its machine is there."""

SYNCHRONOUS = {"lasting": "FULL", "passing": "NORMAL"}
"""SQLite's setting for writes that outlive a power cut, and for those that need not."""

_AGAIN_SECONDS = (0.0005, 0.002)
"""How soon a writer tries again for SQLite's lock. SQLite itself would sleep for up to 0.1 seconds."""

_BEGIN = {
    None: (
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
    ),
    "lasting": "BEGIN",
    "passing": "BEGIN; SET LOCAL synchronous_commit = off",
}
"""How PostgreSQL is told in one message what is to come."""

_TELL = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, '')"
"""Transactions that notify are committed one by one. So this one is its own, and waits for no disk."""

_IDLE_WRITER_SECONDS = 10
"""A writer frozen on its way loses its transaction after so long, so that nobody waits for its locks."""

_POSTGRESQL = {
    "application_name": "studio",
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""A server that answers nothing, not even signs of life, for 15 seconds counts as gone."""


def open_engine(
    url: str, *, busy_seconds: float = BUSY_SECONDS, answer_seconds: float | None = ANSWER_SECONDS
) -> Engine:
    """Open a database by its SQLAlchemy URL; it must have been through ``migrate``.

    Args:
        url: on PostgreSQL it may set what the driver is given, such as ``connect_timeout``, and
            ``answer_seconds``, and has the last word.
        busy_seconds: how long a statement waits for another writer.
        answer_seconds: how long it waits for PostgreSQL's answer; None for as long as it takes.

    Raises:
        DatabaseError: the URL names no database that can be reached.
    """
    try:
        address = make_url(url)
        arguments = (
            _postgresql(address, busy_seconds, answer_seconds)
            if address.get_backend_name() == "postgresql"
            else {}
        )
        engine = create_engine(address, pool_reset_on_return=None, connect_args=arguments)
    except (ArgumentError, ImportError, ValueError) as error:
        raise errors.unopenable(url, str(error)) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, busy_seconds)
    elif engine.dialect.name == "postgresql":
        _prepare_postgresql(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view, never blocked by a writer. Raises DatabaseError."""
    with _explained(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine, *, lasting: bool = True) -> Iterator[Connection]:
    """One transaction, all or nothing. Raises DatabaseError.

    A ``lasting`` one is flushed to the disk and outlives a power cut; another may be undone by it, whole and
    never alone: whatever was written later goes too. On SQLite the write lock is taken at the start, so that
    what is read first still holds at the write; on PostgreSQL rows are locked one by one, and each statement
    sees what was committed before it.

    Nothing is tried again here: where the connection is cut at the end, nobody can know whether the server
    had the whole transaction, or nothing of it.
    """
    with _explained(engine), _writer(engine, lasting) as connection, connection.begin():
        yield connection


@dataclass(frozen=True)
class Direct:
    """A transaction for prepared statements only; it looks like SQLAlchemy's connection to them."""

    dialect: Dialect
    connection: Any
    info: dict[Any, Any]


@contextmanager
def writing_directly(engine: Engine, *, lasting: bool = True) -> Iterator[Direct]:
    """``writing`` for the busiest ways, without what SQLAlchemy's connection costs.

    What is sent without asking for rows goes to PostgreSQL together with the next question, or at the end.
    """
    transaction = _sqlite_transaction if engine.dialect.name == "sqlite" else _postgresql_transaction
    with _explained(engine):
        pooled = engine.raw_connection()
        try:
            with transaction(pooled.driver_connection, pooled.info, "lasting" if lasting else "passing"):
                yield Direct(engine.dialect, pooled.driver_connection, pooled.info)
        except BaseException:
            _give_up(pooled)
            raise
        finally:
            pooled.close()


def tell(connection: Connection | Direct, channel: str) -> None:
    """Notify PostgreSQL's channel as soon as the transaction is committed."""
    connection.info["tells"] = channel


def _writer(engine: Engine, lasting: bool) -> Connection:
    return engine.connect().execution_options(writes="lasting" if lasting else "passing")


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (IntegrityError, driver.IntegrityError):
        raise
    except (DBAPIError, driver.Error, TimeoutError) as error:
        raise errors.explain(engine, error) from error


def _prepare_sqlite(engine: Engine, busy_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        record.info["busy_seconds"] = busy_seconds
        connection.isolation_level = None  # the driver begins nothing by itself; on_begin does
        connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        connection.execute("PRAGMA foreign_keys = ON")
        _switch_to_wal(connection, deadline=time.monotonic() + busy_seconds)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        if writes is None:
            _driver(connection).execute("BEGIN")
        else:
            _begin_sqlite(_driver(connection), connection.info, writes)


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _begin_sqlite(driver: sqlite3.Connection, info: dict[Any, Any], writes: str) -> None:
    if info.get("flushes") != SYNCHRONOUS[writes]:
        driver.execute(f"PRAGMA synchronous = {SYNCHRONOUS[writes]}")
        info["flushes"] = SYNCHRONOUS[writes]
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        _take_write_lock(driver, time.monotonic() + info["busy_seconds"])
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(info['busy_seconds'] * 1000)}")


def _take_write_lock(driver: sqlite3.Connection, deadline: float) -> None:
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(*_AGAIN_SECONDS))


def _postgresql(address: URL, busy_seconds: float, answer_seconds: float | None) -> dict[str, Any]:
    """What the driver is given beside the address, which has the last word."""
    options = {"lock_timeout": busy_seconds, "idle_in_transaction_session_timeout": _IDLE_WRITER_SECONDS}
    told = " ".join(f"-c {name}={int(1000 * seconds)}" for name, seconds in options.items())
    usual = {**_POSTGRESQL, "options": told}
    asked = address.query.get("answer_seconds")
    return {
        **{name: value for name, value in usual.items() if name not in address.query},
        "answer_seconds": answer_seconds if asked is None else float(cast(str, asked)),
    }


def _prepare_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "do_connect")
    def on_do_connect(_dialect: Any, _record: Any, arguments: list[Any], more: dict[str, Any]) -> Any:
        return PatientConnection.connect(*arguments, **more)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # the driver begins nothing by itself; on_begin does

    @event.listens_for(engine, "checkout")
    def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        if connection.closed or _has_spoken(connection.fileno()):
            raise InvalidatePoolError

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        _begin_postgresql(_driver(connection), connection.info, writes)

    @event.listens_for(engine, "commit")
    def on_commit(connection: Connection) -> None:
        if "tells" in connection.info:
            _driver(connection).execute("COMMIT")
            _tell(_driver(connection), connection.info)


def _begin_postgresql(driver: Any, info: dict[Any, Any], writes: str | None) -> None:
    info.pop("tells", None)
    driver.execute(_BEGIN[writes], prepare=False)


@contextmanager
def _postgresql_transaction(driver: Any, info: dict[Any, Any], writes: str) -> Iterator[None]:
    info.pop("tells", None)
    with driver.pipeline():
        for statement in _BEGIN[writes].split("; "):
            driver.execute(statement, prepare=True)
        yield
        driver.execute("COMMIT", prepare=True)
        _tell(driver, info)


def _tell(driver: Any, info: dict[Any, Any]) -> None:
    if channel := info.pop("tells", None):
        driver.execute(_TELL, [channel], prepare=True)


@contextmanager
def _sqlite_transaction(driver: Any, info: dict[Any, Any], writes: str) -> Iterator[None]:
    _begin_sqlite(driver, info, writes)
    yield
    driver.execute("COMMIT")


def _give_up(pooled: PoolProxiedConnection) -> None:
    try:
        pooled.rollback()
    except Exception:
        pooled.invalidate()


def _has_spoken(socket: int) -> bool:
    """Whether the server said something unasked while nobody listened: that it goes, or is gone."""
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switching a new database fails at once while another process switches it: try until the deadline."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
