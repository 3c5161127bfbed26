"""What happened since the first day, counted: by the rows that are there, and by a tally of those deleted.

So a count never falls, nobody counts while jobs run, and whoever asks gets the same answer.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, delete, func, or_, select, true

from db.tables import FRUITLESS, RUNNING, SUCCEEDED, WAITING, attempts, jobs, tallies, votes
from jobs.records import AttemptOutcome, JobState
from jobs.rows import add

CAUSES: dict[str, tuple[str, ...]] = {
    "abandoned": ("every executor that tried it stopped", "executors stopped while drawing it"),
    "memory": ("memory",),
    "generator": ("the generator broke down",),
    "weights": ("weights",),
    "parameters": (
        "but it was",
        "is missing",
        "is empty",
        "there is no",
        "choose one of",
        "hand it in again",
    ),
}
"""Why jobs fail, by what the sentence says that people read; the first that fits. ``other`` is the rest."""


class Name(NamedTuple):
    """What is counted, of which kind.

    ``submitted``, ``claims``, ``votes``: of no kind. ``finished``: by how the job ended. ``attempts``: by how
    the attempt ended. ``failures``: by cause.
    """

    what: str
    kind: str = ""


def by_state(connection: Connection, job_ids: Sequence[str] | None = None) -> Counter[JobState]:
    """How many jobs are there, all or among those with these ids."""
    mine = _among(jobs.c.id, job_ids)
    count = Counter(
        {
            JobState.QUEUED: _rows(connection, WAITING, *mine),
            JobState.RUNNING: _rows(connection, RUNNING, *mine),
            JobState.SUCCEEDED: _rows(connection, SUCCEEDED, *mine),
        }
    )
    ended = select(jobs.c.state, func.count()).where(FRUITLESS, *mine).group_by(jobs.c.state)
    count.update({JobState(state): number for state, number in connection.execute(ended)})
    return count


def totals(connection: Connection, states: Counter[JobState]) -> Counter[Name]:
    """Everything since the first day, given the jobs that are there; what never happened is missing."""
    gone = Counter({Name(row.what, row.kind): row.count for row in connection.execute(select(tallies))})
    return gone + _counted(connection, states)


def delete_jobs(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete jobs that ended, with all that hangs on them, and count them in the tally."""
    for name, count in _counted(connection, by_state(connection, job_ids), job_ids).items():
        add(connection, tallies, name._asdict(), "count", count)
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))


def cause_of(sentence: str | None) -> str:
    """Which of ``CAUSES`` a sentence tells."""
    told = (sentence or "").lower()
    return next((cause for cause, said in CAUSES.items() if any(words in told for words in said)), "other")


def _counted(
    connection: Connection, states: Counter[JobState], job_ids: Sequence[str] | None = None
) -> Counter[Name]:
    """By the rows that are there: all, or those of the jobs with these ids."""
    mine = _among(jobs.c.id, job_ids)
    drawn = states[JobState.SUCCEEDED] - _rows(connection, *_SAMPLES, *mine)
    count = Counter(
        {
            Name("submitted"): states.total() - states[JobState.SUCCEEDED] + drawn,
            Name("finished", "succeeded"): drawn,
            Name("finished", "failed"): states[JobState.FAILED],
            Name("finished", "cancelled"): states[JobState.CANCELLED],
            Name("attempts", "succeeded"): drawn,
            Name("votes"): _count_votes(connection, job_ids),
        }
    )
    started = select(jobs.c.state, func.count(jobs.c.started_at)).where(FRUITLESS, *mine)
    for state, number in connection.execute(started.group_by(jobs.c.state)):
        count[Name("attempts", state)] = number
    _count_attempts(connection, count, job_ids)
    _count_causes(connection, count, job_ids)
    ended = sum(number for name, number in count.items() if name.what == "attempts")
    count[Name("claims")] = states[JobState.RUNNING] + ended
    return +count


_SAMPLES = (jobs.c.id >= "sample-", jobs.c.id < "sample.")
"""They came with the project: nobody asked for them."""


def _rows(connection: Connection, *wanted: Any) -> int:
    return connection.execute(select(func.count()).select_from(jobs).where(*wanted)).scalar_one()


def _count_attempts(connection: Connection, count: Counter[Name], job_ids: Sequence[str] | None) -> None:
    """An attempt that was given up had failed its job, which somebody asked for again."""
    outcomes = select(attempts.c.outcome, func.count()).where(*_among(attempts.c.job_id, job_ids))
    for outcome, number in connection.execute(outcomes.group_by(attempts.c.outcome)):
        if outcome == AttemptOutcome.GIVEN_UP:
            count[Name("finished", "failed")] += number
        count[Name("attempts", "failed" if outcome == AttemptOutcome.GIVEN_UP else outcome)] += number


def _count_causes(connection: Connection, count: Counter[Name], job_ids: Sequence[str] | None) -> None:
    failed = select(jobs.c.error, func.count()).where(
        FRUITLESS, jobs.c.state == "failed", *_among(jobs.c.id, job_ids)
    )
    given_up = select(attempts.c.reason, func.count()).where(
        attempts.c.outcome == AttemptOutcome.GIVEN_UP, *_among(attempts.c.job_id, job_ids)
    )
    for sentences in (failed.group_by(jobs.c.error), given_up.group_by(attempts.c.reason)):
        for sentence, number in connection.execute(sentences):
            count[Name("failures", cause_of(sentence))] += number


def _count_votes(connection: Connection, job_ids: Sequence[str] | None) -> int:
    low, high = _among(votes.c.low_id, job_ids), _among(votes.c.high_id, job_ids)
    mine = true() if job_ids is None else or_(*low, *high)
    return connection.execute(select(func.count()).select_from(votes).where(mine)).scalar_one()


def _among(column: Column[Any], job_ids: Sequence[str] | None) -> list[ColumnElement[bool]]:
    return [] if job_ids is None else [column.in_(job_ids)]
