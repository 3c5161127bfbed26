"""Who is next among submitters of one priority: start-time fair queueing (Goyal et al., 1996).

Every job gets a *turn* when it is asked for. A submitter's own jobs stand two turns apart; somebody who
was not waiting starts one turn after the newest turn served, which is ahead of the second job of everyone
who was just served. The queue takes the lowest turn, then the older job: with one submitter holding a
thousand jobs, another's first job starts next, and a turn, once given, is reached, whoever else arrives.

Whoever changes a line says ``enter_line`` before anything else, so that two who do it at the same time do it
one after the other, and never wait for each other.
"""

from sqlalchemy import Connection, String, and_, bindparam, func, select, update

from db import Prepared
from db.tables import ACTIVE, WAITING, jobs, lines
from jobs.rows import upsert

_LINES = 1_818_848_883
"""Tells these locks of PostgreSQL from other programs'."""
_SUBMITTER_HASH = func.hashtext(bindparam("submitter", type_=String))

_NEWEST_SERVED = select(func.max(lines.c.served)).where(lines.c.priority == bindparam("priority"))
_NEWEST_GIVEN = select(lines.c.given).where(
    lines.c.priority == bindparam("priority"), lines.c.submitter == bindparam("submitter")
)
_TURNS = Prepared(
    select(_NEWEST_SERVED.scalar_subquery().label("served"), _NEWEST_GIVEN.scalar_subquery().label("given"))
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


def enter_line(connection: Connection, submitter: str) -> None:
    """Have the submitter's lines for oneself until the end of the transaction.

    On SQLite every writer has the whole database for itself already.
    """
    if connection.dialect.name == "postgresql":
        _ENTER.run(connection, {"submitter": submitter})


def give_turn(connection: Connection, submitter: str, priority: int) -> int:
    """The turn of ``submitter``'s next job."""
    who = {"priority": priority, "submitter": submitter}
    newest = _TURNS.run(connection, who).rows[0]
    newcomers = (newest["served"] or 0) + 1
    turn = newcomers if newest["given"] is None else max(newest["given"] + 2, newcomers)
    upsert(connection, lines, who, {"given": turn})
    return turn


def serve(connection: Connection, submitter: str, priority: int, turn: int) -> None:
    """Note that the job of that turn has started."""
    _SERVE.run(connection, {"in_priority": priority, "of_submitter": submitter, "turn": turn})


def close_gap(connection: Connection, submitter: str, priority: int, turn: int) -> None:
    """A waiting job left: those behind it in its submitter's line move up."""
    behind = and_(jobs.c.submitter == submitter, jobs.c.priority == priority, jobs.c.turn > turn)
    connection.execute(update(jobs).where(ACTIVE, WAITING, behind).values(turn=jobs.c.turn - 2))
    connection.execute(
        update(lines)
        .where(lines.c.submitter == submitter, lines.c.priority == priority)
        .values(given=lines.c.given - 2)
    )
