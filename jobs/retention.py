"""What is kept and for how long: old results that nobody starred go, and so do old jobs without a result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select

import db
from db import reading, writing
from db.tables import FRUITLESS, SUCCEEDED, jobs, stars
from jobs.clock import Clock, utc_now
from jobs.gallery import SAMPLES_SUBMITTER
from jobs.tallies import delete_jobs
from jobs.turns import Turn
from settings import Settings
from store import ArtifactStore

BATCH = 100
"""So many jobs go in one transaction."""

EVERY = timedelta(hours=1)
"""How often idle executors see to it, all together."""

_MEASURED = 200


@dataclass(frozen=True)
class Summary:
    """What goes, or went: ``results``, ``others`` that failed or were cancelled, ``bytes`` of their files.

    ``oldest``: when the first of them ended; None where there is nothing.
    """

    results: int = 0
    others: int = 0
    bytes: int = 0
    oldest: datetime | None = None


class Retention:
    """Keeps what is younger than ``keep_days``, what is starred and the samples; 0 days keep everything.

    Rows go first, in small transactions, then the files that they named: whatever the database names is
    there, and files that a crash leaves behind belong to nobody.
    """

    def __init__(
        self, engine: Engine, store: ArtifactStore, keep_days: float, *, clock: Clock = utc_now
    ) -> None:
        self.keep_days = keep_days
        self._engine = engine
        self._store = store
        self._clock = clock
        self._at_it = False
        self._turn = Turn(engine, "retention", EVERY, clock=clock)

    def would_delete(self) -> Summary:
        """What ``apply`` would delete now; of many jobs, the bytes are judged by some of them.

        Raises:
            DatabaseError, StoreError: one of the two cannot be used.
        """
        counts, ends, measured = [], [], list[str]()
        with reading(self._engine) as connection:
            for kind in self._expired():
                found = kind.subquery()
                count, oldest = connection.execute(
                    select(func.count(), func.min(found.c.finished_at)).select_from(found)
                ).one()
                counts.append(count)
                ends += [] if oldest is None else [oldest]
                measured += connection.execute(select(found.c.id).limit(_MEASURED)).scalars()
        size = sum(self._store.size(job_id) for job_id in measured)
        share = len(measured) / sum(counts) if measured else 1
        results, others = counts or (0, 0)
        return Summary(results, others, round(size / share), min(ends, default=None))

    def apply(self) -> Summary:
        """Delete all of it, and say what went.

        Raises:
            DatabaseError, StoreError: what has gone until then is gone.
        """
        results = others = size = 0
        ends: list[datetime] = []
        for batch in iter(self._delete_batch, []):
            results += sum(gone.state == "succeeded" for gone in batch)
            others += sum(gone.state != "succeeded" for gone in batch)
            size += sum(gone.bytes for gone in batch)
            ends.append(min(gone.finished_at for gone in batch))
        return Summary(results, others, size, min(ends, default=None))

    def tidy(self, who: str) -> None:
        """Delete a batch, where it is time and nobody else does: for idle executors, between looks for a job.

        Raises:
            DatabaseError, StoreError: one of the two cannot be used.
        """
        if self.keep_days and (self._at_it or self._turn.is_mine(who)):
            self._at_it = bool(self._delete_batch())

    def _expired(self) -> Iterator[Select[Any]]:
        """Results, then failed and cancelled jobs, that are too old: ids, states and ends."""
        if not self.keep_days:
            return
        too_old = jobs.c.finished_at < self._clock() - timedelta(days=self.keep_days)
        those = select(jobs.c.id, jobs.c.state, jobs.c.finished_at).where(too_old)
        starred = select(stars.c.job_id).where(stars.c.job_id == jobs.c.id).exists()
        yield those.where(SUCCEEDED, jobs.c.submitter != SAMPLES_SUBMITTER, ~starred)
        yield those.where(FRUITLESS, jobs.c.state.in_(("failed", "cancelled")))

    def _delete_batch(self) -> list["_Gone"]:
        """At most ``BATCH`` jobs: their rows, then their files; empty where nothing is too old any more."""
        with writing(self._engine) as connection:
            rows = next(filter(None, (self._lock(connection, kind) for kind in self._expired())), [])
            delete_jobs(connection, [row.id for row in rows])
        return [self._delete_files(row) for row in rows]

    def _lock(self, connection: Connection, kind: Select[Any]) -> Sequence[Any]:
        """Whoever stars one of them has done so before, and is seen, or comes too late."""
        rows = connection.execute(
            kind.order_by(jobs.c.finished_at).limit(BATCH).with_for_update(skip_locked=True, of=jobs)
        ).all()
        starred = select(stars.c.job_id).where(stars.c.job_id.in_([row.id for row in rows]))
        kept = set(connection.execute(starred).scalars())
        return [row for row in rows if row.id not in kept]

    def _delete_files(self, row: Any) -> "_Gone":
        gone = _Gone(row.state, row.finished_at, self._store.size(row.id))
        self._store.delete_job(row.id)
        return gone


@dataclass(frozen=True)
class _Gone:
    state: str
    finished_at: datetime
    bytes: int


def command(settings: Settings, *, apply: bool) -> str:
    """What ``python -m jobs retention`` says; with ``apply`` what is too old goes.

    Raises:
        DatabaseError, StoreError: one of the two cannot be used.
    """
    days = settings.retention.keep_days
    if not days:
        return "Everything is kept: set retention.keep_days to the days after which results go."
    engine = db.open_engine(settings.database_url)
    try:
        retention = Retention(engine, ArtifactStore(settings.artifact_url, settings.artifact_options), days)
        if apply:
            return f"Deleted {told(retention.apply())}."
        return f"{days:g} days are kept. --apply would delete {told(retention.would_delete())}."
    finally:
        engine.dispose()


def told(summary: Summary) -> str:
    """A summary as part of a sentence."""
    if summary.oldest is None:
        return "nothing"
    return (
        f"{summary.results} results and {summary.others} failed or cancelled jobs with about "
        f"{summary.bytes / 1e6:.1f} MB of files, the oldest of {summary.oldest:%-d %b %Y}"
    )
