"""Transactions of the busiest ways: prepared statements only, without what SQLAlchemy's connection costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection

from db.engine import BEGIN, begin_sqlite, explained, notify_told


class Direct(Protocol):
    """A transaction; ``info`` is kept with the driver's connection."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def info(self) -> dict[Any, Any]: ...

    def ask(self, sql: str, values: Any) -> Sequence[Sequence[Any]]:
        """Execute, and return the rows."""

    def send(self, sql: str, values: Any) -> None:
        """Execute by the next ``ask``, or by the end."""


@contextmanager
def writing_directly(engine: Engine, *, lasting: bool = True) -> Iterator[Direct]:
    """As ``writing``. Raises DatabaseError, for what was sent by the end of the block at the latest."""
    begin = _on_sqlite if engine.dialect.name == "sqlite" else _on_postgresql
    with explained(engine):
        pooled = engine.raw_connection()
        try:
            with begin(engine.dialect, pooled, "lasting" if lasting else "passing") as transaction:
                yield transaction
        except BaseException:
            _give_up(pooled)
            raise
        finally:
            pooled.close()


def tell(connection: Connection | Direct, channel: str) -> None:
    """Notify PostgreSQL's channel as soon as the transaction is committed."""
    connection.info["tells"] = channel


def _give_up(pooled: PoolProxiedConnection) -> None:
    try:
        pooled.rollback()
    except Exception:
        pooled.invalidate()


@contextmanager
def _on_sqlite(dialect: Dialect, pooled: PoolProxiedConnection, writes: str) -> Iterator["_OnSQLite"]:
    driver: Any = pooled.driver_connection
    begin_sqlite(driver, pooled.info, writes)
    yield _OnSQLite(dialect, pooled.info, driver)
    driver.execute("COMMIT")


@dataclass(frozen=True)
class _OnSQLite:
    dialect: Dialect
    info: dict[Any, Any]
    driver: Any

    def ask(self, sql: str, values: Any) -> Sequence[Sequence[Any]]:
        rows: list[Any] = self.driver.execute(sql, values).fetchall()
        return rows

    def send(self, sql: str, values: Any) -> None:
        self.driver.execute(sql, values)


@contextmanager
def _on_postgresql(dialect: Dialect, pooled: PoolProxiedConnection, writes: str) -> Iterator["_OnPostgreSQL"]:
    driver: Any = pooled.driver_connection
    pooled.info.pop("tells", None)
    with driver.pipeline() as pipeline:
        transaction = _OnPostgreSQL(dialect, pooled.info, driver, pipeline)
        for statement in BEGIN[writes]:
            transaction.send(statement, None)
        yield transaction
        transaction.send("COMMIT", None)
        transaction.put_out()
    notify_told(driver, pooled.info)


@dataclass(frozen=True)
class _OnPostgreSQL:
    """What is sent goes to the server together with the next question: the way there and back costs most."""

    dialect: Dialect
    info: dict[Any, Any]
    driver: Any
    pipeline: Any
    unsent: list[tuple[str, Any]] = field(default_factory=list)

    def ask(self, sql: str, values: Any) -> Sequence[Sequence[Any]]:
        self.put_out()
        cursor = self.driver.execute(sql, values)
        self.pipeline.sync()  # and nothing after it: only then the server counts how long we are idle
        rows: list[Any] = cursor.fetchall()
        return rows

    def send(self, sql: str, values: Any) -> None:
        self.unsent.append((sql, values))

    def put_out(self) -> None:
        for sql, values in self.unsent:
            self.driver.execute(sql, values, prepare=True)
        self.unsent.clear()
