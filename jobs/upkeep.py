"""What idle executors see to between two looks for a job: old results, and files that nobody needs."""

import logging
from datetime import timedelta

from sqlalchemy import Engine

from jobs.retention import Retention
from jobs.sweep import sweep
from jobs.turns import Turn
from store import ArtifactStore

SWEPT_EVERY = timedelta(days=1)

_log = logging.getLogger(__name__)


class Upkeep:
    """Everything that is due, done by one of all executors."""

    def __init__(self, engine: Engine, store: ArtifactStore, keep_days: float) -> None:
        self._engine = engine
        self._store = store
        self._retention = Retention(engine, store, keep_days)
        self._sweeping = Turn(engine, "sweep", SWEPT_EVERY)

    def see_to_it(self, who: str) -> None:
        """Raises DatabaseError, StoreError: one of the two cannot be used."""
        self._retention.tidy(who)
        if self._sweeping.is_mine(who):
            found = sweep(self._engine, self._store)
            _log.info("swept the store: %d files removed", sum(map(len, found.orphans.values())))
            if found.missing:
                _log.warning("%d files that results name are gone: %s", len(found.missing), found.missing[0])
