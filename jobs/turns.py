"""What one process of all does, now and then."""

import time
from datetime import timedelta

from sqlalchemy import Engine, select

from db import writing
from db.tables import switches
from jobs.clock import Clock, utc_now
from jobs.rows import upsert

_ASK_SECONDS = 60.0


class Turn:
    """A task that is due ``every`` so often, for whichever process asks first."""

    def __init__(self, engine: Engine, name: str, every: timedelta, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._name = name
        self._every = every
        self._clock = clock
        self._asked_at = float("-inf")

    def is_mine(self, who: str) -> bool:
        """Whether this process is to do it now. Raises DatabaseError."""
        if time.monotonic() - self._asked_at < _ASK_SECONDS:
            return False
        self._asked_at, now = time.monotonic(), self._clock()
        last = select(switches.c.changed_at).where(switches.c.name == self._name).with_for_update()
        with writing(self._engine, lasting=False) as connection:
            seen_to = connection.execute(last).scalar()
            if seen_to is not None and abs(now - seen_to) < self._every:
                return False
            upsert(connection, switches, {"name": self._name}, {"changed_by": who, "changed_at": now})
        return True
