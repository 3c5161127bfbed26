"""Opens databases; every statement of the house runs inside ``reading`` or ``writing``."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from db import errors

BUSY_SECONDS = 10.0
"""How long a statement waits for another writer before the database counts as locked."""


def open_engine(url: str, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """Open a database by its SQLAlchemy URL; it must have been through ``migrate``.

    Raises:
        DatabaseError: the URL names no database that can be reached.
    """
    try:
        engine = create_engine(make_url(url), pool_reset_on_return=None)
    except (ArgumentError, ImportError) as error:
        raise errors.unopenable(url, str(error)) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, busy_seconds)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view, never blocked by a writer. Raises DatabaseError."""
    with _explained(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, all or nothing. Raises DatabaseError.

    On SQLite the write lock is taken at the start, so that what is read first still holds at the write.
    """
    with _explained(engine), _writer(engine) as connection, connection.begin():
        yield connection


def _writer(engine: Engine) -> Connection:
    return engine.connect().execution_options(writes=True)


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise errors.explain(engine, error) from error


def _prepare_sqlite(engine: Engine, busy_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; on_begin does
        connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        connection.execute("PRAGMA synchronous = FULL")  # a commit outlives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        _switch_to_wal(connection, deadline=time.monotonic() + busy_seconds)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


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
