"""Which executors there are, what they can draw, and which are alive."""

import os
import socket
from datetime import datetime, timedelta

import psutil
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, or_, select, update

from db import reading, writing
from db.tables import RUNNING, executors, jobs, shelves
from jobs.clock import Clock, Stopwatch, stopwatch, utc_now
from jobs.observer import Observer
from jobs.records import ANYTHING, Capabilities, ExecutorStatus
from jobs.rows import upsert

_FORGET_SECONDS = 3600.0
_LOOK_SECONDS = 60.0
_ANY_WEIGHTS = "*"


class Executors:
    """The register of executors.

    Args:
        engine: the database, migrated.
        alive_seconds: an executor counts as alive that was seen to report within this time. Whoever looks for
            the first time goes by the time of the last report.
        clock: gives the time, aware.
        stopwatch: gives the seconds that pass.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        alive_seconds: float,
        clock: Clock = utc_now,
        stopwatch: Stopwatch = stopwatch,
    ) -> None:
        self._engine = engine
        self._alive_seconds = alive_seconds
        self._clock = clock
        self._reports = Observer(stopwatch)
        self._others = Observer(stopwatch)
        self._told: dict[str, Capabilities] = {}

    def register(self, executor_id: str, *, device: str, threads: int, able: Capabilities = ANYTHING) -> None:
        """Enter this process under that id, and strike out those of this machine that were long silent."""
        now = self._clock()
        row = {
            "device": device,
            "threads": threads,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started_at": now,
            "seen_at": now,
            "trouble": None,
            "memory": able.memory,
            "resident": _resident_bytes(),
        }
        with writing(self._engine, lasting=False) as connection:
            connection.execute(delete(executors).where(executors.c.host == row["host"], _long_silent(now)))
            upsert(connection, executors, {"id": executor_id}, row)
            _fill_shelf(connection, executor_id, able)
        self._told[executor_id] = able

    def beat(self, executor_id: str, trouble: str | None = None, able: Capabilities = ANYTHING) -> bool:
        """Report being alive; False where the executor is not on the register, or no longer.

        ``trouble`` says in a sentence why no jobs are taken. Others that were seen to be silent for an hour
        are struck out.
        """
        mine = executors.c.id == executor_id
        news = {
            "seen_at": self._clock(),
            "trouble": trouble,
            "memory": able.memory,
            "resident": _resident_bytes(),
        }
        with writing(self._engine, lasting=False) as connection:
            if connection.execute(update(executors).where(mine).values(news)).rowcount == 0:
                return False
            if able != self._told.get(executor_id):
                _fill_shelf(connection, executor_id, able)
            self._strike_out_silent(connection)
        self._told[executor_id] = able
        return True

    def _strike_out_silent(self, connection: Connection) -> None:
        if self._others.seconds_since_look() < _LOOK_SECONDS:
            return
        rows = connection.execute(select(executors.c.id, executors.c.seen_at))
        unchanged = self._others.look({row.id: row.seen_at for row in rows})
        silent = [executor_id for executor_id, seconds in unchanged.items() if seconds >= _FORGET_SECONDS]
        if silent:
            connection.execute(delete(executors).where(executors.c.id.in_(silent)))

    def leave(self, executor_id: str) -> None:
        """Strike the executor out."""
        with writing(self._engine, lasting=False) as connection:
            connection.execute(delete(executors).where(executors.c.id == executor_id))

    def all(self) -> list[ExecutorStatus]:
        """Every executor on the register, the oldest first, with the job it runs."""
        on_it = and_(jobs.c.executor == executors.c.id, RUNNING)
        query = (
            select(executors, jobs.c.id.label("job_id"))
            .select_from(executors.outerjoin(jobs, on_it))
            .order_by(executors.c.started_at, executors.c.id)
        )
        with reading(self._engine) as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
            standing = _shelves(connection)
        now = self._clock()
        silent = self._reports.look(
            {row["id"]: row["seen_at"] for row in rows},
            {row["id"]: abs((now - row["seen_at"]).total_seconds()) for row in rows},
        )
        return [
            ExecutorStatus(
                **{name: value for name, value in row.items() if name != "memory"},
                able=_able(standing.get(row["id"], {}), row["memory"]),
                alive=silent[row["id"]] <= self._alive_seconds,
            )
            for row in rows
        ]

    def alive(self) -> list[ExecutorStatus]:
        """The executors that reported within ``alive_seconds``."""
        return [executor for executor in self.all() if executor.alive]


def _long_silent(now: datetime) -> ColumnElement[bool]:
    """By one's own clock, which may be another than theirs who are on other machines."""
    forget = timedelta(seconds=_FORGET_SECONDS)
    return or_(executors.c.seen_at < now - forget, executors.c.seen_at > now + forget)


def _fill_shelf(connection: Connection, executor_id: str, able: Capabilities) -> None:
    names = {_ANY_WEIGHTS} if able.weights is None else able.weights
    rows = [
        {"executor_id": executor_id, "weights": name, "loaded": name in able.loaded}
        for name in sorted(names | able.loaded)
    ]
    connection.execute(delete(shelves).where(shelves.c.executor_id == executor_id))
    if rows:
        connection.execute(insert(shelves), rows)


def _shelves(connection: Connection) -> dict[str, dict[str, bool]]:
    """Whether a set of weights is loaded, by its name, by its executor."""
    found: dict[str, dict[str, bool]] = {}
    for row in connection.execute(select(shelves)):
        found.setdefault(row.executor_id, {})[row.weights] = row.loaded
    return found


def _able(shelf: dict[str, bool], memory: int) -> Capabilities:
    weights = None if _ANY_WEIGHTS in shelf else frozenset(shelf)
    return Capabilities(weights, frozenset(name for name, loaded in shelf.items() if loaded), memory)


def _resident_bytes() -> int:
    """What this process holds of the machine's memory."""
    return int(psutil.Process().memory_info().rss)
