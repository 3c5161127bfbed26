"""Who is next among submitters of one priority: start-time fair queueing (Goyal et al., 1996).

Every job gets a *turn* when it is asked for. A submitter's own jobs stand two turns apart; somebody who
was not waiting starts one turn after the newest turn served, which is ahead of the second job of everyone
who was just served. The queue takes the lowest turn, then the older job: with one submitter holding a
thousand jobs, another's first job starts next, and a turn, once given, is reached, whoever else arrives.

An executor that cannot draw a submitter's first job may start a later one. It costs the submitter the turn of
the first nevertheless, and those that were left out move back by one: what a submitter gets, and when others
are next, does not depend on which job it was.

Whoever changes a line says ``enter_line`` before anything else, so that two who do it at the same time do it
one after the other, and never wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, String, Update, and_, bindparam, func, select, update

from db import Direct, Prepared
from db.tables import ACTIVE, WAITING, jobs, lines
from jobs.rows import upsert

_APART = 2
"""How many turns lie between two jobs of one submitter."""
_LINES = 1_818_848_883
"""Tells these locks of PostgreSQL from other programs'."""
_SUBMITTER_HASH = func.hashtext(bindparam("submitter", type_=String))

_WAITING = (
    select(jobs.c.number)
    .where(ACTIVE, WAITING, jobs.c.submitter == bindparam("submitter"))
    .limit(bindparam("count_to"))
)
_NEWEST_SERVED = select(func.max(lines.c.served)).where(lines.c.priority == bindparam("priority"))
_NEWEST_GIVEN = select(lines.c.given).where(
    lines.c.priority == bindparam("priority"), lines.c.submitter == bindparam("submitter")
)
_LOOK = Prepared(
    select(
        select(func.count()).select_from(_WAITING.subquery()).scalar_subquery().label("waiting"),
        _NEWEST_SERVED.scalar_subquery().label("served"),
        _NEWEST_GIVEN.scalar_subquery().label("given"),
    )
)
_SERVE = Prepared(
    update(lines)
    .where(
        lines.c.priority == bindparam("in_priority"),
        lines.c.submitter == bindparam("of_submitter"),
        lines.c.served < bindparam("turn"),
    )
    .values(served=bindparam("turn"))
)


_ENTER = Prepared(select(func.pg_advisory_xact_lock(_LINES, _SUBMITTER_HASH).label("entered")))


@dataclass(frozen=True)
class Line:
    """How many jobs of a submitter wait, at any priority, and the turn of the next one at this priority."""

    waiting: int
    next_turn: int


def enter_line(connection: Connection | Direct, submitter: str) -> None:
    """Have the submitter's lines for oneself until the end of the transaction.

    On SQLite every writer has the whole database for itself already.
    """
    if connection.dialect.name == "postgresql":
        _ENTER.send(connection, {"submitter": submitter})


def look(connection: Connection | Direct, submitter: str, priority: int, count_to: int) -> Line:
    """The submitter's line as it stands, counted up to ``count_to``."""
    who = {"priority": priority, "submitter": submitter, "count_to": count_to}
    (found,) = _LOOK.run(connection, who)
    newcomers = (found["served"] or 0) + 1
    turn = newcomers if found["given"] is None else max(found["given"] + _APART, newcomers)
    return Line(found["waiting"], turn)


def give_turns(
    connection: Connection | Direct, submitter: str, priority: int, line: Line, count: int
) -> Sequence[int]:
    """The turns of the submitter's next ``count`` jobs."""
    turns = range(line.next_turn, line.next_turn + _APART * count, _APART)
    if turns:
        upsert(connection, lines, {"priority": priority, "submitter": submitter}, {"given": turns[-1]})
    return turns


def serve(connection: Connection | Direct, submitter: str, priority: int, turn: int) -> None:
    """Note that the job of that turn has started."""
    _SERVE.send(connection, {"in_priority": priority, "of_submitter": submitter, "turn": turn})


def serve_in_order(connection: Connection | Direct, submitter: str, priority: int, turn: int) -> None:
    """Note that the job of that turn has started, perhaps before others of its submitter's line."""
    left_out = {"in_priority": priority, "of_submitter": submitter, "turn": turn}
    moved = [row["turn"] for row in _MOVE_BACK.run(connection, left_out)]
    serve(connection, submitter, priority, min(moved) - _APART if moved else turn)


def close_gap(connection: Connection, submitter: str, priority: int, turn: int) -> None:
    """A waiting job left: those behind it in its submitter's line move up."""
    line = {"in_priority": priority, "of_submitter": submitter}
    _MOVE_UP.send(connection, {**line, "turn": turn})
    connection.execute(
        update(lines)
        .where(lines.c.submitter == submitter, lines.c.priority == priority)
        .values(given=lines.c.given - _APART)
    )


def _shift(which: ColumnElement[bool], turns: int) -> Update:
    """Rows that others hold are left as they are: they are about to leave the line."""
    mine = and_(jobs.c.priority == bindparam("in_priority"), jobs.c.submitter == bindparam("of_submitter"))
    there = select(jobs.c.number).where(WAITING, mine, which).with_for_update(skip_locked=True)
    return update(jobs).where(jobs.c.number.in_(there)).values(turn=jobs.c.turn + turns)


_MOVE_BACK = Prepared(_shift(jobs.c.turn < bindparam("turn"), _APART).returning(jobs.c.turn))
_MOVE_UP = Prepared(_shift(and_(ACTIVE, jobs.c.turn > bindparam("turn")), -_APART))
