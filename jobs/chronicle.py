"""A job's life: all that happened to it, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, Row, select

from db import reading
from db.tables import attempts, jobs
from jobs.queue import JobNotFound
from jobs.records import JobState


class EventKind(StrEnum):
    """What happens to a job. ``lost``: its executor fell silent. ``stumbled``: the generator broke down."""

    ASKED = "asked"
    STARTED = "started"
    LOST = "lost"
    STUMBLED = "stumbled"
    HANDED_BACK = "handed back"
    CANCEL_ASKED = "cancel asked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ASKED_AGAIN = "asked again"


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Attributes:
        at: when, in UTC; None where nobody wrote it down.
        executor: who had the job.
        reason: why, in a sentence.
        seconds: of waiting before a start, of work before the end of an attempt.
    """

    kind: EventKind
    at: datetime | None
    executor: str | None = None
    reason: str | None = None
    seconds: float | None = None


class Chronicle:
    """Tells the life of jobs. Raises DatabaseError when the database cannot be used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, job_id: str) -> list[Event]:
        """All that happened to the job, the first first. Raises JobNotFound."""
        past = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
        with reading(self._engine) as connection:
            job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
            if job is None:
                raise JobNotFound(job_id)
            ended = connection.execute(past).all()
        return list(_life(job, ended))


_ENDS = {"lost": EventKind.LOST, "failed": EventKind.STUMBLED, "handed back": EventKind.HANDED_BACK}


def _life(job: Row[Any], ended: Sequence[Row[Any]]) -> Iterator[Event]:
    yield Event(EventKind.ASKED, job.created_at)
    waiting_since: datetime | None = job.created_at
    for attempt in ended:
        yield _start(attempt, waiting_since)
        kind = _ENDS.get(attempt.outcome, EventKind.FAILED)
        yield _end(kind, attempt, attempt.ended_at, attempt.reason)
        waiting_since = attempt.ended_at
        if kind is EventKind.FAILED:
            yield Event(EventKind.ASKED_AGAIN, None)
            waiting_since = None
    if job.started_at is not None:
        yield _start(job, waiting_since)
    if job.cancel_requested:
        yield Event(EventKind.CANCEL_ASKED, None)
    if JobState(job.state).is_final:
        yield _end(EventKind(job.state), job, job.finished_at, job.error)


def _start(attempt: Row[Any], waiting_since: datetime | None) -> Event:
    waited = _seconds(waiting_since, attempt.started_at)
    return Event(EventKind.STARTED, attempt.started_at, attempt.executor, seconds=waited)


def _end(kind: EventKind, attempt: Row[Any], at: datetime, reason: str | None) -> Event:
    executor = attempt.executor if attempt.started_at is not None else None
    return Event(kind, at, executor, reason, _seconds(attempt.started_at, at))


def _seconds(since: datetime | None, until: datetime) -> float | None:
    """None where one of the two is not known; a clock that was set back makes no time negative."""
    return None if since is None else max(0.0, (until - since).total_seconds())
