"""Turns rows into records, and records into rows."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, false, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from db import Direct, Prepared
from db.tables import jobs, progress, results
from jobs.records import Job, JobState, Progress, Result

_PROGRESS = [column.label(f"progress_{column.name}") for column in progress.c]
_RESULT = [column.label(f"result_{column.name}") for column in results.c]


_INSERT: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def upsert(
    connection: Connection | Direct, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Insert the row, or set its ``values`` where one with that primary ``key`` is there."""
    _upsert(connection.dialect.name, table, *values).send(connection, {**key, **values})


def add(connection: Connection, table: Table, key: Mapping[str, Any], column: str, count: int) -> None:
    """Insert the row with ``count``, or add that to its ``column`` where one with that ``key`` is there."""
    statement = _INSERT[connection.dialect.name](table).values({**key, column: count})
    summed = {column: table.c[column] + statement.excluded[column]}
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=summed))


@cache
def _upsert(dialect: str, table: Table, *updated: str) -> Prepared:
    statement = _INSERT[dialect](table).inline()
    key = [column.name for column in table.primary_key]
    updating = statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in updated}
    )
    return Prepared(updating, columns=[*key, *updated])


def select_jobs() -> Select[Any]:
    """Jobs with their progress and results."""
    joined = jobs.outerjoin(progress).outerjoin(results)
    return select(jobs, *_PROGRESS, *_RESULT).select_from(joined)


def select_results() -> Select[Any]:
    """Succeeded jobs with their results, without the history of their progress."""
    return select(jobs, *_RESULT).select_from(jobs.join(results))


def seen_by(person: str | None) -> ColumnElement[bool]:
    """What ``person`` sees of jobs joined with their results: all that is not hidden, and what is theirs."""
    shown = func.coalesce(results.c.hidden, false()).is_(False)
    return shown if person is None else or_(shown, jobs.c.submitter == person)


def job_from(row: Row[Any] | Mapping[str, Any]) -> Job:
    """The record of a row of ``jobs``, as ``select_jobs`` and ``select_results`` find them."""
    values = row._mapping if isinstance(row, Row) else row
    return Job(
        id=values["id"],
        generator=values["generator"],
        weights=values["weights"],
        prompt=values["prompt"],
        parameters=values["parameters"],
        submitter=values["submitter"],
        state=JobState(values["state"]),
        priority=values["priority"],
        attempts=values["attempts"],
        max_attempts=values["max_attempts"],
        created_at=values["created_at"],
        started_at=values["started_at"],
        finished_at=values["finished_at"],
        error=values["error"],
        cancel_requested=values["cancel_requested"],
        executor=values["executor"],
        needs_memory=values["needs_memory"],
        round=values["round"],
        progress=_progress_from(values),
        result=_result_from(values),
    )


def _progress_from(values: Any) -> Progress | None:
    if values.get("progress_job_id") is None:
        return None
    return Progress(
        step=values["progress_step"],
        steps=values["progress_steps"],
        frame=values["progress_frame"],
        history=values["progress_history"],
        updated_at=values["progress_updated_at"],
    )


def _result_from(values: Any) -> Result | None:
    if values.get("result_job_id") is None:
        return None
    return Result(
        image=values["result_image"],
        animation=values["result_animation"],
        seconds=values["result_seconds"],
        numbers=values["result_numbers"],
        width=values["result_width"],
        height=values["result_height"],
        hidden=values["result_hidden"],
    )
