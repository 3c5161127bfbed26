"""Statements for the busiest ways: compiled once, then handed straight to the driver.

SQLAlchemy spends about 0.1 ms on every execution beside the database's own 0.01; a queue that is asked a
thousand times a second notices.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.types import TypeEngine

from db.direct import Direct

Statement = Select[Any] | Insert | Update


class Prepared:
    """A statement whose values are named by ``bindparam``; lists for ``IN`` are not supported.

    ``columns`` are those that an insert fills; what is not among them has the table's server default.
    """

    def __init__(self, statement: Statement, columns: Sequence[str] | None = None) -> None:
        self.statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection | Direct, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Execute inside the connection's transaction; driver errors pass as they are.

        Returns the rows by column name.
        """
        compiled = self._for(connection.dialect)
        given = compiled.bound(values)
        if not isinstance(connection, Connection):
            return [compiled.named(row) for row in connection.ask(compiled.sql, given)]
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(compiled.sql, given)
            return [compiled.named(row) for row in cursor.fetchall()]

    def send(self, connection: Connection | Direct, values: Mapping[str, Any]) -> None:
        """Execute without asking for rows; what is wrong may be told as late as at the transaction's end."""
        compiled = self._for(connection.dialect)
        given = compiled.bound(values)
        if not isinstance(connection, Connection):
            connection.send(compiled.sql, given)
            return
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(compiled.sql, given)

    def _for(self, dialect: Dialect) -> "_Compiled":
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = _Compiled(self.statement, self._columns, dialect)
        return self._compiled[dialect.name]


class _Compiled:
    """The text of a statement in one dialect, and how its values go to the driver and come back."""

    def __init__(self, statement: Statement, columns: Sequence[str] | None, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self.sql = str(compiled)
        self._positions = compiled.positiontup
        processes = {
            name: _implementation(bind.type, dialect).bind_processor(dialect)
            for bind, name in compiled.bind_names.items()
        }
        names = compiled.params if self._positions is None else self._positions
        self._given = [(name, compiled.params[name], processes[name]) for name in names]
        self.columns = [column.name for column in statement.exported_columns]
        self._from_driver = [
            (column.name, process)
            for column in statement.exported_columns
            if (process := _implementation(column.type, dialect).result_processor(dialect, None)) is not None
        ]

    def bound(self, values: Mapping[str, Any]) -> Any:
        given = [
            values.get(name, fixed) if process is None else process(values.get(name, fixed))
            for name, fixed, process in self._given
        ]
        if self._positions is not None:
            return given
        return {name: value for (name, _, _), value in zip(self._given, given, strict=True)}

    def named(self, row: Sequence[Any]) -> dict[str, Any]:
        values = dict(zip(self.columns, row, strict=True))
        for name, process in self._from_driver:
            values[name] = process(values[name])
        return values


def _implementation(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    return kind.dialect_impl(dialect)
