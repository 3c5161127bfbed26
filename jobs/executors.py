"""Which executors there are, and which are alive."""

import os
import socket
from datetime import timedelta

import psutil
from sqlalchemy import Engine, delete, select, update

from db import reading, writing
from db.tables import executors, jobs
from jobs.clock import Clock, utc_now
from jobs.records import ExecutorStatus, JobState
from jobs.rows import upsert

_FORGET_AFTER = timedelta(hours=1)


class Executors:
    """The register of executors.

    Args:
        engine: the database, migrated.
        alive_seconds: an executor that reported within this time counts as alive.
        clock: gives the time, aware.
    """

    def __init__(self, engine: Engine, *, alive_seconds: float, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._alive = timedelta(seconds=alive_seconds)
        self._clock = clock

    def register(self, executor_id: str, *, device: str, threads: int) -> None:
        """Enter this process under that id, and strike out those long silent."""
        now = self._clock()
        row = {
            "device": device,
            "threads": threads,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started_at": now,
            "seen_at": now,
            "trouble": None,
            "resident": _resident_bytes(),
        }
        with writing(self._engine, lasting=False) as connection:
            connection.execute(delete(executors).where(executors.c.seen_at < now - _FORGET_AFTER))
            upsert(connection, executors, {"id": executor_id}, row)

    def beat(self, executor_id: str, trouble: str | None = None) -> None:
        """Report being alive; ``trouble`` says in a sentence why no jobs are taken."""
        with writing(self._engine, lasting=False) as connection:
            connection.execute(
                update(executors)
                .where(executors.c.id == executor_id)
                .values(seen_at=self._clock(), trouble=trouble, resident=_resident_bytes())
            )

    def leave(self, executor_id: str) -> None:
        """Strike the executor out."""
        with writing(self._engine, lasting=False) as connection:
            connection.execute(delete(executors).where(executors.c.id == executor_id))

    def all(self) -> list[ExecutorStatus]:
        """Every executor that reported within the last hour, the oldest first, with the job it runs."""
        on_it = (jobs.c.executor == executors.c.id) & (jobs.c.state == JobState.RUNNING.value)
        query = (
            select(executors, jobs.c.id.label("job_id"))
            .select_from(executors.outerjoin(jobs, on_it))
            .order_by(executors.c.started_at, executors.c.id)
        )
        alive_since = self._clock() - self._alive
        with reading(self._engine) as connection:
            return [
                ExecutorStatus(**row._mapping, alive=row.seen_at >= alive_since)
                for row in connection.execute(query)
            ]

    def alive(self) -> list[ExecutorStatus]:
        """The executors that reported within ``alive_seconds``."""
        return [executor for executor in self.all() if executor.alive]


def _resident_bytes() -> int:
    """What this process holds of the machine's memory."""
    return int(psutil.Process().memory_info().rss)
