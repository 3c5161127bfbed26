"""Opens databases; every statement of the house runs inside ``reading`` or ``writing``."""

import logging
import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InvalidatePoolError, TimeoutError

from db import errors
from db.patience import PatientConnection
from settings import without_password

BUSY_SECONDS = 10.0
"""How long a statement waits for another writer before the database counts as locked."""

ANSWER_SECONDS = 30.0
"""How long PostgreSQL may take for one answer before it counts as gone, though its machine is there."""

SYNCHRONOUS = {"lasting": "FULL", "passing": "NORMAL"}
"""SQLite's setting for writes that outlive a power cut, and for those that need not."""

BEGIN = {
    None: (
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
    ),
    "lasting": ("BEGIN",),
    "passing": ("BEGIN", "SET LOCAL synchronous_commit = off"),
}
"""How PostgreSQL is told what is to come: reading, or a kind of writing."""

_TELL = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, '')"
"""Transactions that notify are committed one by one. So this one is its own, and waits for no disk."""

_SESSION = {
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
}
"""A writer frozen on its way, or whose machine is gone, loses its transaction: nobody waits for its locks."""

_log = logging.getLogger(__name__)

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
        raise errors.unopenable(without_password(url), str(error)) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, busy_seconds)
    elif engine.dialect.name == "postgresql":
        _prepare_postgresql(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view, never blocked by a writer. Raises DatabaseError."""
    with explained(engine), engine.connect() as connection, connection.begin():
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
    with explained(engine), _writer(engine, lasting) as connection:
        with connection.begin():
            yield connection
        notify_told(_driver(connection), connection.info)


def notify_told(driver: Any, info: dict[Any, Any]) -> None:
    """Notify the channel that ``tell`` named, if any. Only time depends on it: a failure is logged."""
    channel = info.pop("tells", None)
    if channel is None:
        return
    try:
        driver.execute(_TELL, [channel], prepare=True)
    except psycopg.Error as error:
        _log.warning("the committed transaction stands, but nobody was woken: %s", error)


def _writer(engine: Engine, lasting: bool) -> Connection:
    return engine.connect().execution_options(writes="lasting" if lasting else "passing")


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """What the driver raises becomes DatabaseError, but for IntegrityError."""
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (IntegrityError, driver.IntegrityError):
        raise
    except (DBAPIError, driver.Error, TimeoutError) as error:
        raise errors.explain(engine, error) from error


def _prepare_sqlite(engine: Engine, busy_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
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
            begin_sqlite(_driver(connection), connection.info, writes)


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def begin_sqlite(driver: sqlite3.Connection, info: dict[Any, Any], writes: str) -> None:
    """Begin a transaction that holds the write lock."""
    if info.get("flushes") != SYNCHRONOUS[writes]:
        driver.execute(f"PRAGMA synchronous = {SYNCHRONOUS[writes]}")
        info["flushes"] = SYNCHRONOUS[writes]
    driver.execute("BEGIN IMMEDIATE")


def _postgresql(address: URL, busy_seconds: float, answer_seconds: float | None) -> dict[str, Any]:
    """What the driver is given beside the address, which has the last word."""
    session = {**_SESSION, "lock_timeout": int(busy_seconds * 1000)}
    usual = {**_POSTGRESQL, "options": " ".join(f"-c {name}={value}" for name, value in session.items())}
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
        connection.info.pop("tells", None)
        writes = connection.get_execution_options().get("writes")
        _driver(connection).execute("; ".join(BEGIN[writes]), prepare=False)


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
