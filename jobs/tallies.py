"""What happened since the first day, counted: by the rows that are there, and by a tally of those deleted.

So a count never falls, nobody counts while jobs run, and whoever asks gets the same answer.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, or_, select, text

from db.tables import FRUITLESS, RUNNING, SUCCEEDED, WAITING, attempts, jobs, tallies, votes
from jobs.rows import add

CAUSES = {
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

GIVEN_UP = "given up"


class Name(NamedTuple):
    """What is counted, of which kind.

    ``submitted``, ``votes``: of no kind. ``finished``: by how the job ended. ``claims``: by how the attempt
    ended, ``running`` where it has not. ``failures``: by cause.
    """

    what: str
    kind: str = ""


def totals(connection: Connection) -> Counter[Name]:
    """Everything since the first day; what never happened is missing."""
    gone = Counter({Name(row.what, row.kind): row.count for row in connection.execute(select(tallies))})
    return gone + _counted(connection)


def delete_jobs(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete jobs that ended, with all that hangs on them, and count them in the tally."""
    for name, count in _counted(connection, job_ids).items():
        add(connection, tallies, name._asdict(), "count", count)
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))


def _counted(connection: Connection, job_ids: Sequence[str] | None = None) -> Counter[Name]:
    """By the rows that are there: all, or those of the jobs with these ids."""
    mine = [] if job_ids is None else [jobs.c.id.in_(job_ids)]
    count: Counter[Name] = Counter()
    count[Name("submitted")] = _rows(connection, WAITING, *mine)
    count[Name("claims", "running")] = _rows(connection, RUNNING, *mine)
    drawn = _rows(connection, SUCCEEDED, *mine) - _rows(connection, *_SAMPLES, *mine)
    count[Name("finished", "succeeded")] = count[Name("claims", "succeeded")] = drawn
    ends = select(jobs.c.state, func.count(), func.count(jobs.c.started_at)).where(FRUITLESS, *mine)
    for state, ended, started in connection.execute(ends.group_by(jobs.c.state)):
        count[Name("finished", state)] = ended
        count[Name("claims", state)] = started
    count[Name("submitted")] += count[Name("claims", "running")] + sum(
        number for name, number in count.items() if name.what == "finished"
    )
    _count_failures(connection, count, mine)
    _count_attempts(connection, count, job_ids)
    count[Name("votes")] = _count_votes(connection, job_ids)
    return count


_SAMPLES = (jobs.c.id >= "sample-", jobs.c.id < "sample.")
"""They came with the project: nobody asked for them."""


def _rows(connection: Connection, *wanted: Any) -> int:
    return connection.execute(select(func.count()).select_from(jobs).where(*wanted)).scalar_one()


def _count_failures(connection: Connection, count: Counter[Name], mine: Sequence[Any]) -> None:
    failed = _by_cause(jobs.c.error).where(FRUITLESS, jobs.c.state == "failed", *mine)
    for kind, number in connection.execute(failed):
        count[Name("failures", kind)] += number


def _by_cause(sentence: ColumnElement[Any]) -> Select[Any]:
    fits = [
        (or_(*(sentence.icontains(words, autoescape=True) for words in said)), cause)
        for cause, said in CAUSES.items()
    ]
    return select(case(*fits, else_="other").label("cause"), func.count()).group_by(text("cause"))


def _count_attempts(connection: Connection, count: Counter[Name], job_ids: Sequence[str] | None) -> None:
    """An attempt that was given up had failed its job, which somebody asked for again."""
    mine = [] if job_ids is None else [attempts.c.job_id.in_(job_ids)]
    outcomes = select(attempts.c.outcome, func.count()).where(*mine).group_by(attempts.c.outcome)
    for outcome, number in connection.execute(outcomes):
        if outcome == GIVEN_UP:
            count[Name("finished", "failed")] += number
        count[Name("claims", "failed" if outcome == GIVEN_UP else outcome)] += number
    if count[Name("finished", "failed")]:
        given_up = _by_cause(attempts.c.reason).where(attempts.c.outcome == GIVEN_UP, *mine)
        for kind, number in connection.execute(given_up):
            count[Name("failures", kind)] += number


def _count_votes(connection: Connection, job_ids: Sequence[str] | None) -> int:
    mine = [] if job_ids is None else [or_(votes.c.low_id.in_(job_ids), votes.c.high_id.in_(job_ids))]
    return connection.execute(select(func.count()).select_from(votes).where(*mine)).scalar_one()
