"""Copies what a living database holds to another, of the same kind or not.

The source is read in one transaction, as it stood at one moment, while its programs go on. Every table is
brought to what the source says, row by row, so that a copy that was interrupted goes on by being started
again. Executors are not copied: each enters itself where it runs.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    Row,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    tuple_,
    update,
)

from db.engine import reading, writing
from db.errors import name_of
from db.migration import check, migrate
from db.tables import api_tokens, executors, jobs, members, metadata, presets, results, shelves

TABLES = [table for table in metadata.sorted_tables if table not in (executors, shelves)]
"""What is copied, each table after those that it refers to."""

BATCH = 500
"""Rows that are written in one transaction."""

_OWN = (jobs, presets, members, api_tokens)
"""A target that has rows of its own here is somebody's studio, not a copy."""

_UNFINISHED = Table("unfinished_copy", MetaData(), Column("source", Text, nullable=False))
"""Stands in the target until it holds all, and tells whose copy it is."""

Advance = Callable[[int], object]
"""Told how many rows are done."""


class CopyRefused(Exception):
    """The one database cannot be copied into the other; the text says why and what to do."""


@dataclass(frozen=True)
class Content:
    """How much a table holds; ``digest`` is the same for the same rows in any order."""

    rows: int
    digest: str


@dataclass(frozen=True)
class Copied:
    """What a table held in the source, and what it holds in the target since."""

    table: str
    source: Content
    target: Content

    @property
    def is_whole(self) -> bool:
        """Whether both hold the same."""
        return self.source == self.target


def prepare(source: Engine, target: Engine) -> None:
    """Make the target's tables where it has none; a studio's tables stay as they are, of whatever version.

    Raises:
        CopyRefused: the source is a file that is not there, or both are the same database.
        DatabaseError: one of the two cannot be used, or has no tables of this version.
    """
    if _is_missing(source):
        raise CopyRefused(f"There is no database {name_of(source)}: check the path.")
    check(source)
    if _is_missing(target) or not _has_tables(target):
        migrate(target.url.render_as_string(hide_password=False))
    check(target)
    if _are_same(source, target):
        raise CopyRefused(
            f"{name_of(source)} and {name_of(target)} are the same database: choose another target."
        )


def count_rows(source: Engine) -> int:
    """About how many rows there are to copy."""
    with reading(source) as connection:
        return sum(_count(connection, table) for table in TABLES)


def copy_rows(source: Engine, target: Engine, advance: Advance) -> list[Copied]:
    """Bring every table of ``target`` to what ``source`` holds; returns what was compared at the end.

    Raises:
        CopyRefused: the target holds jobs, presets or members of its own, or another's copy.
        DatabaseError: one of the two cannot be used.
    """
    with reading(source) as snapshot:
        _claim_target(snapshot, target, name_of(source))
        for table in reversed(TABLES):
            _remove_strays(snapshot, target, table)
        wanted = {table.name: _bring(snapshot, target, table, advance) for table in TABLES}
    for table in TABLES:
        _continue_numbers(target, table)
    with reading(target) as connection:
        found = {table.name: _content(_all_rows(connection, table)) for table in TABLES}
    return [Copied(table.name, wanted[table.name], found[table.name]) for table in TABLES]


def named_files(target: Engine) -> set[str]:
    """The files that the results name."""
    with reading(target) as connection:
        return {
            name for row in connection.execute(select(results.c.image, results.c.animation)) for name in row
        }


def complete(target: Engine) -> None:
    """Note that the target holds all of its source, so that from now on it is a studio of its own."""
    with writing(target) as connection:
        _UNFINISHED.drop(connection)


def _is_missing(engine: Engine) -> bool:
    """Whether it is a file that opening would make."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path.startswith(("file:", ":memory:")):
        return False
    return not Path(path).exists()


def _has_tables(engine: Engine) -> bool:
    with reading(engine) as connection:
        return inspect(connection).has_table(jobs.name)


def _are_same(source: Engine, target: Engine) -> bool:
    """Whether both are one, be it by two addresses: a lock is its database's own, whoever asks for it."""
    if source.dialect.name != target.dialect.name:
        return False
    with reading(source) as one, reading(target) as other:
        if source.dialect.name == "sqlite":
            return os.path.samefile(*(_file(connection) for connection in (one, other)))
        lock = secrets.randbits(62)
        other.execute(select(func.pg_advisory_xact_lock(lock)))
        return not one.execute(select(func.pg_try_advisory_xact_lock(lock))).scalar_one()


def _file(connection: Connection) -> str:
    """Where SQLite says that it is."""
    path: str = connection.execute(
        text("SELECT file FROM pragma_database_list WHERE name = 'main'")
    ).scalar_one()
    return path


def _claim_target(snapshot: Connection, target: Engine, source_name: str) -> None:
    """Mark the target as this source's copy, unless it holds what is not from there."""
    with writing(target) as connection:
        if inspect(connection).has_table(_UNFINISHED.name):
            owner = connection.execute(select(_UNFINISHED.c.source)).scalar_one()
            if owner != source_name:
                raise CopyRefused(
                    f"The database {name_of(target)} holds an unfinished copy of {owner}: "
                    "finish that one, or choose an empty database."
                )
            return
        for table in _OWN:
            strays = sum(len(_missing(snapshot, table, keys)) for keys in _key_batches(connection, table))
            if strays:
                raise CopyRefused(
                    f"The database {name_of(target)} holds {strays} {table.name} that {source_name} "
                    "does not hold: choose an empty database."
                )
        _UNFINISHED.create(connection)
        connection.execute(insert(_UNFINISHED), {"source": source_name})


def _remove_strays(snapshot: Connection, target: Engine, table: Table) -> None:
    """Remove what has gone from the source since an earlier attempt."""
    with reading(target) as connection:
        strays = [key for keys in _key_batches(connection, table) for key in _missing(snapshot, table, keys)]
    if strays:
        with writing(target) as connection:
            connection.execute(delete(table).where(_is_key(table)), [_named(table, key) for key in strays])


def _bring(snapshot: Connection, target: Engine, table: Table, advance: Advance) -> Content:
    """Write the rows that are missing or differ; returns what the source holds."""

    def written() -> Iterator[Row[Any]]:
        for batch in _all_rows(snapshot, table).partitions(BATCH):
            with writing(target) as connection:
                _write(connection, table, batch)
            advance(len(batch))
            yield from batch

    return _content(written())


def _write(connection: Connection, table: Table, batch: Sequence[Row[Any]]) -> None:
    keys = [_key_of(table, row) for row in batch]
    known = {_key_of(table, row): row for row in connection.execute(_with_keys(select(table), table, keys))}
    new = [row for row, key in zip(batch, keys, strict=True) if key not in known]
    changed = [row for row, key in zip(batch, keys, strict=True) if key in known and known[key] != row]
    if new:
        connection.execute(insert(table), [dict(row._mapping) for row in new])
    if changed:
        values = {column.name: bindparam(f"new_{column.name}", type_=column.type) for column in table.c}
        statement = update(table).where(_is_key(table)).values(values)
        connection.execute(
            statement,
            [
                {f"new_{name}": value for name, value in row._mapping.items()}
                | _named(table, _key_of(table, row))
                for row in changed
            ],
        )


def _continue_numbers(target: Engine, table: Table) -> None:
    """New rows are numbered after the copied ones; SQLite does so by itself."""
    column = table.autoincrement_column
    if column is None or target.dialect.name != "postgresql":
        return
    sequence = func.pg_get_serial_sequence(table.name, column.name)
    highest = select(func.coalesce(func.max(column) + 1, 1)).scalar_subquery()
    with writing(target) as connection:
        connection.execute(select(func.setval(sequence, highest, text("false"))))


def _content(rows: Iterator[Row[Any]] | Any) -> Content:
    """The digest is the sum of the rows' own, which no order changes."""
    count = total = 0
    for row in rows:
        line = json.dumps(list(row), default=_plain, ensure_ascii=False)
        total += int.from_bytes(hashlib.sha256(line.encode("utf-8", "surrogatepass")).digest())
        count += 1
    return Content(count, f"{total % 2**256:064x}")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    raise TypeError(f"A column holds a {type(value).__name__}, of which no digest is known.")


def _all_rows(connection: Connection, table: Table) -> Any:
    return connection.execute(select(table), execution_options={"yield_per": BATCH})


@cache
def _identity(table: Table) -> list[Column[Any]]:
    """What makes a row the same one: SQLite may give the number of a deleted row to another."""
    kinds = (PrimaryKeyConstraint, UniqueConstraint)
    constraints = [constraint for constraint in table.constraints if isinstance(constraint, kinds)]
    unique = {column.name for constraint in constraints for column in constraint.columns}
    return [column for column in table.c if column.name in unique]


def _key_batches(connection: Connection, table: Table) -> Iterator[Sequence[tuple[Any, ...]]]:
    keys = connection.execute(select(*_identity(table)), execution_options={"yield_per": BATCH})
    for batch in keys.partitions(BATCH):
        yield [tuple(row) for row in batch]


def _missing(snapshot: Connection, table: Table, keys: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Those of the keys that the source does not hold."""
    held = {tuple(row) for row in snapshot.execute(_with_keys(select(*_identity(table)), table, keys))}
    return [key for key in keys if key not in held]


def _with_keys(query: Any, table: Table, keys: Sequence[tuple[Any, ...]]) -> Any:
    columns = _identity(table)
    if len(columns) == 1:
        return query.where(columns[0].in_([key for (key,) in keys]))
    return query.where(tuple_(*columns).in_(keys))


def _key_of(table: Table, row: Row[Any]) -> tuple[Any, ...]:
    return tuple(row._mapping[column.name] for column in _identity(table))


def _is_key(table: Table) -> Any:
    return and_(*(column == bindparam(f"key_{column.name}") for column in _identity(table)))


def _named(table: Table, key: tuple[Any, ...]) -> dict[str, Any]:
    names = [f"key_{column.name}" for column in _identity(table)]
    return dict(zip(names, key, strict=True))


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
