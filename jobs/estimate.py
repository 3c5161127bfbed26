"""How long until a picture is done, judged by the newest results."""

from datetime import datetime

from sqlalchemy import Connection, func, select

from db.tables import RUNNING, SUCCEEDED, jobs, results
from jobs.records import Job, JobState

_RECENT = 20


def seconds_to_wait(connection: Connection, ahead: int, executors: int) -> float | None:
    """Seconds until a waiting job's picture is done, ``ahead`` jobs start earlier.

    None when there are no ``executors`` or there is nothing to go by.
    """
    usual = _usual_seconds(connection)
    if usual is None or executors == 0:
        return None
    running = connection.execute(select(func.count()).select_from(jobs).where(RUNNING)).scalar_one()
    half_done = running / 2
    return usual * ((ahead + half_done) / executors + 1)


def seconds_left(connection: Connection, job: Job, now: datetime) -> float | None:
    """Seconds until a job that has started is done; None when there is nothing to go by."""
    return _rest_of(connection, job, now) if job.state is JobState.RUNNING else 0.0


def _rest_of(connection: Connection, job: Job, now: datetime) -> float | None:
    spent = max((now - job.started_at).total_seconds(), 0.0) if job.started_at else 0.0
    if job.progress is None or job.progress.step == 0:
        usual = _usual_seconds(connection)
        return None if usual is None else max(usual - spent, 0.0)
    return spent / job.progress.step * (job.progress.steps - job.progress.step)


def _usual_seconds(connection: Connection) -> float | None:
    recent = (
        select(results.c.seconds)
        .select_from(jobs.join(results))
        .where(SUCCEEDED, jobs.c.executor.is_not(None))
        .order_by(jobs.c.finished_at.desc(), jobs.c.number.desc())
        .limit(_RECENT)
        .subquery()
    )
    return connection.execute(select(func.avg(recent.c.seconds))).scalar()
