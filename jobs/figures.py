"""The studio in figures, for whoever watches it: one look at the database tells of all executors."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from db import reading
from db.tables import RUNNING, SUCCEEDED, WAITING, executors, jobs, progress, results
from jobs import tallies
from jobs.clock import Clock, utc_now
from jobs.records import JobState

RECENT = timedelta(hours=1)
MOST_RECENT = 500
QUANTILES = (0.5, 0.9, 0.99)

Quantiles = Mapping[float, float]


@dataclass(frozen=True)
class Memory:
    """Bytes of an executor: what its process holds, and what a job may take there."""

    executor: str
    device: str
    resident: int
    free: int


@dataclass(frozen=True)
class Figures:
    """How everything stands.

    Attributes:
        jobs: how many are there, by state.
        oldest: seconds since the oldest waiting job was asked for and since the first running one started.
        totals: what happened since the first day, as ``tallies.Name`` says.
        waiting: seconds from asking to the start, of results of the last hour (at most ``MOST_RECENT``).
        drawing: seconds of work on a picture, of the same results, by generator.
        step: seconds a step, likewise.
        memory: of the executors on the register.
    """

    jobs: Mapping[JobState, int]
    oldest: Mapping[JobState, float]
    totals: Counter[tallies.Name]
    waiting: Quantiles
    drawing: Mapping[str, Quantiles]
    step: Mapping[str, Quantiles]
    memory: list[Memory]


class Watch:
    """Takes the figures of a database. Raises DatabaseError when that cannot be used."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def figures(self) -> Figures:
        """How everything stands, in one view; cheap also where a million jobs are."""
        now = self._clock()
        with reading(self._engine) as connection:
            states = tallies.by_state(connection)
            return Figures(
                jobs={state: states[state] for state in JobState},
                oldest=_oldest(connection, now),
                totals=tallies.totals(connection, states),
                memory=_memory(connection),
                **_recent(connection, now),
            )


def _oldest(connection: Connection, now: datetime) -> dict[JobState, float]:
    lowest = select(func.min(jobs.c.number)).where(WAITING).scalar_subquery()
    asked = connection.execute(select(jobs.c.created_at).where(jobs.c.number == lowest)).scalar()
    started = connection.execute(select(func.min(jobs.c.started_at)).where(RUNNING)).scalar()
    return {
        state: 0.0 if since is None else max(0.0, (now - since).total_seconds())
        for state, since in ((JobState.QUEUED, asked), (JobState.RUNNING, started))
    }


def _memory(connection: Connection) -> list[Memory]:
    found = select(executors.c.id, executors.c.device, executors.c.resident, executors.c.memory)
    return [Memory(*row) for row in connection.execute(found.order_by(executors.c.id))]


def _recent(connection: Connection, now: datetime) -> dict[str, Any]:
    newest = (
        select(jobs.c.generator, jobs.c.created_at, jobs.c.started_at, results.c.seconds, progress.c.steps)
        .select_from(jobs.join(results).outerjoin(progress, progress.c.job_id == jobs.c.id))
        .where(SUCCEEDED, jobs.c.finished_at > now - RECENT, jobs.c.started_at.is_not(None))
        .order_by(jobs.c.finished_at.desc(), jobs.c.number.desc())
        .limit(MOST_RECENT)
    )
    waiting: list[float] = []
    drawing, step = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for row in connection.execute(newest):
        waiting.append(max(0.0, (row.started_at - row.created_at).total_seconds()))
        drawing[row.generator].append(row.seconds)
        if row.steps:
            step[row.generator].append(row.seconds / row.steps)
    return {
        "waiting": _quantiles(waiting),
        "drawing": {name: _quantiles(seconds) for name, seconds in drawing.items()},
        "step": {name: _quantiles(seconds) for name, seconds in step.items()},
    }


def _quantiles(values: Iterable[float]) -> Quantiles:
    """The values that so many are not above; none where there are no values."""
    ordered = sorted(values)
    return {q: ordered[math.ceil(q * len(ordered)) - 1] for q in QUANTILES} if ordered else {}
