"""How long until a picture is done, judged by the newest results."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from db.tables import RUNNING, SUCCEEDED, executors, jobs, results
from jobs.records import Job, JobState

_RECENT = 20


def seconds_left(
    connection: Connection, job: Job, ahead: int, now: datetime, alive_within: timedelta
) -> float | None:
    """Seconds until the job's picture is done; None when no executor is alive or there is nothing to go by.

    ``ahead`` jobs start earlier; executors count that were seen within ``alive_within``.
    """
    if job.state.is_final:
        return 0.0
    if job.state is JobState.RUNNING:
        return _rest_of(connection, job, now)
    usual = _usual_seconds(connection)
    alive = _count_alive(connection, now - alive_within)
    if usual is None or alive == 0:
        return None
    running = connection.execute(select(func.count()).select_from(jobs).where(RUNNING)).scalar_one()
    half_done = running / 2
    return usual * ((ahead + half_done) / alive + 1)


def _rest_of(connection: Connection, job: Job, now: datetime) -> float | None:
    spent = (now - job.started_at).total_seconds() if job.started_at else 0.0
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


def _count_alive(connection: Connection, since: datetime) -> int:
    return connection.execute(
        select(func.count()).select_from(executors).where(executors.c.seen_at >= since)
    ).scalar_one()
