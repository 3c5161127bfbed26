"""Which waiting job an executor takes: the first in the fair order that it can draw.

An executor keeps to the weights that it has loaded: it looks a little further down the line for a job that
needs them, as long as nobody before that job has been passed over for longer than a set time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, or_, select, update

from db import Direct, Prepared
from db.tables import WAITING, jobs, switches
from jobs import fairness
from jobs.moves import move
from jobs.records import ANYTHING, Capabilities, ExecutorStatus, Job, JobState

PAUSED = "paused"
LOOK_AHEAD = 32
"""How many waiting jobs an executor looks at for one whose weights it has loaded."""

Row = Mapping[str, Any]

_GOES_ON = ~select(switches.c.name).where(switches.c.name == PAUSED).exists()
_START = move(
    JobState.RUNNING,
    executor=bindparam("by_executor"),
    token=bindparam("new_token"),
    started_at=bindparam("now"),
    attempts=jobs.c.attempts + 1,
    untidy=True,
    passed_over_at=None,
).returning(*jobs.c)


def start(
    connection: Connection | Direct, lease: Row, able: Capabilities, keep_weights: timedelta
) -> dict[str, Any] | None:
    """Start the job that is next for an executor that is ``able``; the job's row, None when there is none.

    ``lease`` has ``by_executor``, ``new_token`` and ``now``. An executor passes nobody over for longer than
    ``keep_weights``.
    """
    row = _start_loaded(connection, lease, able, keep_weights) if able.loaded and keep_weights else None
    if row is None:
        row = _first(_start_next(able), connection, lease)
    if row is not None:
        charge = fairness.serve if able == ANYTHING else fairness.serve_in_order
        charge(connection, row["submitter"], row["priority"], row["turn"])
    return row


def start_chosen(connection: Connection, lease: Row, job_id: str) -> dict[str, Any] | None:
    """Start that job out of turn, if it waits, whatever it needs; its row."""
    row = _first(_START_CHOSEN, connection, {**lease, "chosen": job_id})
    if row is not None:
        fairness.close_gap(connection, row["submitter"], row["priority"], row["turn"])
    return row


def next_for(able: Capabilities) -> Select[Any]:
    """The number of the first job in the fair order that an executor can draw."""
    first: Select[Any] = in_order(able).with_only_columns(jobs.c.number).limit(1)
    return first.with_for_update(skip_locked=True)


def in_order(able: Capabilities) -> Select[Any]:
    """The waiting jobs that an executor can draw, in the fair order; none while the queue is paused."""
    order = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.number)
    return select(jobs).where(WAITING, _GOES_ON, *_fits(able)).order_by(*order)


def obstacle(job: Job, executors: Sequence[ExecutorStatus]) -> str | None:
    """Why none of the executors can draw the job, in a sentence; None where one can, or there are none."""
    equipped = [e.able for e in executors if e.able.weights is None or job.weights in e.able.weights]
    if not executors or any(job.needs_memory <= able.memory or not able.memory for able in equipped):
        return None
    if not equipped:
        return (
            f"No running executor has the weights '{job.weights}': install them where one runs, "
            "or start one that has them."
        )
    most = max(able.memory for able in equipped)
    return (
        f"This picture needs about {job.needs_memory / 1e9:.1f} GB of memory and no running executor with "
        f"its weights has more than {most / 1e9:.1f} GB: ask for a smaller one, or start one that has."
    )


def choose(ahead: Sequence[Row], loaded: frozenset[str], now: datetime, keep: timedelta) -> Row | None:
    """Which of the jobs to take, given in the fair order: the first whose weights are loaded.

    None, so that the fair order holds, where there is none, where it would pass over a job of higher
    priority, or one that has been passed over for longer than ``keep``.
    """
    for row in ahead:
        passed_over_at = row["passed_over_at"]
        if row["priority"] != ahead[0]["priority"]:
            return None
        if row["weights"] in loaded:
            return row
        if passed_over_at is not None and now - passed_over_at > keep:
            return None
    return None


def _start_loaded(
    connection: Connection | Direct, lease: Row, able: Capabilities, keep: timedelta
) -> dict[str, Any] | None:
    """Start the next job whose weights are loaded; None where the fair order must hold."""
    row = _first(_start_next_if_loaded(able), connection, lease)
    return row or _look_ahead(connection, lease, able, keep)


def _look_ahead(
    connection: Connection | Direct, lease: Row, able: Capabilities, keep: timedelta
) -> dict[str, Any] | None:
    ahead: Sequence[Row] = _waiting_ahead(able).run(connection, lease)
    chosen = choose(ahead, able.loaded, lease["now"], keep)
    if chosen is None:
        return None
    passed = [row["number"] for row in ahead[: ahead.index(chosen)] if _is_new(row, lease["now"])]
    row = _first(_START_CHOSEN, connection, {**lease, "chosen": chosen["id"]})
    if row is not None and passed:
        for number in passed:
            _PASS_OVER.send(connection, {"passed": number, "now": lease["now"]})
    return row


def _is_new(row: Row, now: datetime) -> bool:
    """Whether nobody has passed it over yet, as far as can be told: a clock that was set back counts anew."""
    return row["passed_over_at"] is None or row["passed_over_at"] > now


def _first(statement: Prepared, connection: Connection | Direct, values: Row) -> dict[str, Any] | None:
    rows = statement.run(connection, values)
    return rows[0] if rows else None


def _fits(able: Capabilities) -> list[ColumnElement[bool]]:
    fits = [] if able.weights is None else [_one_of(able.weights)]
    return fits + ([jobs.c.needs_memory <= able.memory] if able.memory else [])


def _one_of(weights: frozenset[str]) -> ColumnElement[bool]:
    return or_(False, *(jobs.c.weights == name for name in sorted(weights)))


_START_CHOSEN = Prepared(
    _START.where(
        jobs.c.number
        == select(jobs.c.number)
        .where(WAITING, _GOES_ON, jobs.c.id == bindparam("chosen"))
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
)


_PASSED = select(jobs.c.number).where(WAITING, jobs.c.number == bindparam("passed"))
_PASS_OVER = Prepared(
    update(jobs)
    .where(jobs.c.number.in_(_PASSED.with_for_update(skip_locked=True)))
    .values(passed_over_at=bindparam("now"))
)


@lru_cache
def _start_next(able: Capabilities) -> Prepared:
    return Prepared(_START.where(jobs.c.number == next_for(able).scalar_subquery()))


@lru_cache
def _start_next_if_loaded(able: Capabilities) -> Prepared:
    is_next = jobs.c.number == next_for(able).scalar_subquery()
    return Prepared(_START.where(and_(is_next, _one_of(able.loaded))))


@lru_cache
def _waiting_ahead(able: Capabilities) -> Prepared:
    seen = (jobs.c.number, jobs.c.id, jobs.c.weights, jobs.c.priority, jobs.c.passed_over_at)
    return Prepared(in_order(able).with_only_columns(*seen).limit(LOOK_AHEAD))
