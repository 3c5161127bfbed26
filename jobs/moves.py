"""How a job changes its state, and what is kept of the attempts that it leaves behind."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, bindparam, insert, literal, or_, select, update

from db.tables import attempts, jobs
from jobs.records import AttemptOutcome, JobState

_SOURCES = {
    JobState.RUNNING: (JobState.QUEUED,),
    JobState.QUEUED: (JobState.RUNNING, JobState.FAILED),
    JobState.SUCCEEDED: (JobState.RUNNING,),
    JobState.FAILED: (JobState.RUNNING,),
    JobState.CANCELLED: (JobState.QUEUED, JobState.RUNNING),
}
"""From which states a job may come to a state. Of the final ones only a failed job may be asked for again."""


def move(to: JobState, **values: Any) -> Update:
    """The only way a job changes its state; a final one takes the time as the parameter ``now``."""
    if to is not JobState.RUNNING:
        values |= {"token": None}
    if to.is_final:
        values |= {"checkpoint": None, "finished_at": bindparam("now")}
    may_move = or_(*(jobs.c.state == source.value for source in _SOURCES[to]))
    return update(jobs).where(may_move).values(state=to.value, **values)


def archive(
    connection: Connection,
    which: ColumnElement[bool],
    outcome: AttemptOutcome,
    reason: str | None,
    ended_at: datetime,
) -> None:
    """Keep the attempt that stands in the job's row, before the row is needed for another."""
    attempt = select(
        jobs.c.id,
        jobs.c.executor,
        jobs.c.started_at,
        literal(ended_at, jobs.c.finished_at.type),
        literal(outcome.value, jobs.c.state.type),
        literal(reason, jobs.c.error.type),
    ).where(which)
    kept = ("job_id", "executor", "started_at", "ended_at", "outcome", "reason")
    connection.execute(insert(attempts).from_select(kept, attempt))
