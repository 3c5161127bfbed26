"""Connections to PostgreSQL that wait for an answer only so long.

The network's own timeouts tell of a peer whose machine is gone. They do not tell of a server that hangs, or
of a proxy before it that does: their machines go on to acknowledge what they are sent.
"""

from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")


class PatientConnection(psycopg.Connection[Any]):
    """Closes itself, and raises OperationalError, where an answer takes longer than ``answer_seconds``.

    Whether the server had what it was sent, and did it, nobody can know then.
    """

    _answer_seconds: float | None = None

    @classmethod
    def connect(cls, conninfo: str = "", *, answer_seconds: float | None, **more: Any) -> Self:  # type: ignore[override]
        """As the driver does; ``answer_seconds`` may be None, for as long as it takes."""
        connection = super().connect(conninfo, **more)
        connection._answer_seconds = answer_seconds
        return connection

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As the driver does, which waits here for whatever the server is to send."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self._answer_seconds)
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(f"timed out: no answer in {self._answer_seconds:g} s") from None
