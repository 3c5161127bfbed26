"""Waiting until there may be work: told by PostgreSQL, and on SQLite by a number that every change moves.

Nothing depends on it but the time that passes: an executor that is not woken looks by itself after a while.
"""

import random
import threading
import time
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from db import Direct, tell
from db.tables import WAITING, jobs

LOOK_SECONDS = 0.02
"""How often SQLite is looked at, which takes microseconds, and how late ``stop`` may be noticed."""

_CHANNEL = "studio_jobs"
_ANY_WAITING = f"SELECT 1 FROM {jobs.name} WHERE {WAITING} LIMIT 1"


def wake(connection: Connection | Direct) -> None:
    """Wake the idle executors once this transaction is committed; on SQLite they notice by themselves."""
    if connection.dialect.name == "postgresql":
        tell(connection, _CHANNEL)


class Wakeup:
    """One idle executor's, with a connection of its own; not for several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ear: _Listener | _Watcher | None = None

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Until jobs may wait, ``stop`` is set, or about ``seconds`` have passed.

        Returns at once the first time, and after the connection was cut: from then on nothing is missed.
        """
        deadline = time.monotonic() + seconds * random.uniform(0.8, 1.2)  # so that not all look together
        try:
            if self._ear is None:
                self._ear = _open(self._engine)
                return
            while not stop.is_set() and time.monotonic() < deadline:
                if self._ear.hears(stop):
                    return
        except (DBAPIError, self._engine.dialect.loaded_dbapi.Error):
            self.close()
            stop.wait(deadline - time.monotonic())

    def close(self) -> None:
        """Stop listening."""
        if self._ear is not None:
            self._ear.connection.close()
            self._ear = None


class _Listener:
    """PostgreSQL: a message arrives with every change that may give work."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        connection.execute(f"LISTEN {_CHANNEL}")

    def hears(self, stop: threading.Event) -> bool:
        return any(True for _ in self.connection.notifies(timeout=LOOK_SECONDS, stop_after=1))


class _Watcher:
    """SQLite: a number differs once another connection has changed anything."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._version = self._look()

    def hears(self, stop: threading.Event) -> bool:
        before, self._version = self._version, self._look()
        if self._version != before and self.connection.execute(_ANY_WAITING).fetchone() is not None:
            return True
        stop.wait(LOOK_SECONDS)
        return False

    def _look(self) -> int:
        (version,) = self.connection.execute("PRAGMA data_version").fetchone()
        return int(version)


def _open(engine: Engine) -> _Listener | _Watcher:
    pooled = engine.raw_connection()
    connection = pooled.driver_connection
    pooled.detach()  # never again another's, for it listens
    return (_Listener if engine.dialect.name == "postgresql" else _Watcher)(connection)
