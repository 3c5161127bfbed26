"""Finds the files in the store that nobody names and removes them, and the results whose files are gone.

Whatever is removed was in the store before the database was asked who names it, and is asked for again right
before it goes: what is published in the meantime stays.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, select

from db import reading
from db.tables import jobs, presets, results
from jobs.exports import Export
from jobs.gallery import SAMPLE
from jobs.records import JobState
from jobs.uploads import REFERENCE
from store import ASIDE, UPLOADS, ArtifactNotFound, ArtifactStore, Stored, folder_of, job_of

SLOWEST_WRITE = timedelta(hours=1)
"""A file may lie aside, or a sample before its row is written, for so long."""

UPLOADS_STAY = timedelta(days=1)
"""A picture that was handed in may wait for its job or preset for so long."""

_BATCH = 500


class Kind(StrEnum):
    """Why nobody needs a file."""

    OF_NO_JOB = "of jobs that are not there"
    OF_ENDED_JOB = "work of jobs that ended"
    ASIDE = "half-written, left aside"
    UPLOAD = "uploads that nobody uses"


@dataclass
class Found:
    """What a sweep found: unneeded files by kind, and results whose files are missing, by artifact name."""

    orphans: dict[Kind, list[Stored]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """``named``: what its result names; None where the job has none."""

    state: JobState
    named: frozenset[str]

    def needs(self, name: str) -> bool:
        if not self.state.is_final:
            return True
        beside = {f"{folder_of(known)}/{export}" for known in self.named for export in Export}
        return name in self.named | beside


def sweep(engine: Engine, store: ArtifactStore, *, dry_run: bool = False) -> Found:
    """Remove what nobody names, or with ``dry_run`` only find it; says which results lack their files.

    Raises:
        DatabaseError, StoreError: nothing more was removed.
    """
    return _Sweep(engine, store, dry_run).run()


class _Sweep:
    def __init__(self, engine: Engine, store: ArtifactStore, dry_run: bool) -> None:
        self._engine = engine
        self._store = store
        self._dry_run = dry_run
        self._found = Found()
        self._now = store.now()

    def run(self) -> Found:
        self._sweep_jobs()
        self._sweep_aside()
        self._sweep_uploads()
        self._found.missing = _missing(self._engine, self._store)
        return self._found

    def _sweep_jobs(self) -> None:
        by_job = defaultdict(list)
        for file in self._store.files("jobs"):
            by_job[job_of(file.name) or ""].append(file)
        ids = sorted(by_job)
        for start in range(0, len(ids), _BATCH):
            known = _jobs(self._engine, ids[start : start + _BATCH])
            for job_id in ids[start : start + _BATCH]:
                self._sweep_job(job_id, known.get(job_id), by_job[job_id])

    def _sweep_job(self, job_id: str, job: _Job | None, files: list[Stored]) -> None:
        kind = Kind.OF_NO_JOB if job is None else Kind.OF_ENDED_JOB
        for file in files:
            if self._is_needed(job, job_id, file):
                continue
            if self._dry_run or _jobs(self._engine, [job_id]).get(job_id) == job:
                self._take(kind, file)

    def _is_needed(self, job: _Job | None, job_id: str, file: Stored) -> bool:
        if job is not None:
            return job.needs(file.name)
        return job_id.startswith(SAMPLE) and not self._is_older(file, SLOWEST_WRITE)

    def _sweep_aside(self) -> None:
        for file in self._store.files(ASIDE):
            if self._is_older(file, SLOWEST_WRITE):
                self._take(Kind.ASIDE, file)

    def _sweep_uploads(self) -> None:
        old = [file for file in self._store.files(UPLOADS) if self._is_older(file, UPLOADS_STAY)]
        used, newest = _references(self._engine) if old else (set(), 0)
        for file in old:
            if _reference_in(file) in used:
                continue
            more, newest = _references(self._engine, after=newest)
            used |= more
            if _reference_in(file) not in used:
                self._take(Kind.UPLOAD, file)

    def _take(self, kind: Kind, file: Stored) -> None:
        """Remove a file, unless it was written again since it was listed."""
        if not self._dry_run:
            try:
                now = self._store.look(file.name)
            except ArtifactNotFound:  # another one removed it
                return
            if now.tag != file.tag or now.modified - file.modified > timedelta(seconds=1):
                return
            self._store.delete(file.name)
        self._found.orphans[kind].append(file)

    def _is_older(self, file: Stored, age: timedelta) -> bool:
        return self._now - file.modified > age


def _missing(engine: Engine, store: ArtifactStore) -> list[str]:
    """What results name and the store lacks, also when both are asked again."""
    there = {file.name for file in store.files("jobs")}
    lacking = [name for name in _named(engine) if name not in there]
    lacking = [name for name in lacking if not store.exists(name)]
    still_named = set(_named(engine)) if lacking else set()
    return [name for name in lacking if name in still_named]


def _jobs(engine: Engine, ids: list[str]) -> dict[str, _Job]:
    asked = (
        select(jobs.c.id, jobs.c.state, results.c.image, results.c.animation)
        .select_from(jobs.outerjoin(results))
        .where(jobs.c.id.in_(ids))
    )
    with reading(engine) as connection:
        return {
            row.id: _Job(JobState(row.state), frozenset(filter(None, (row.image, row.animation))))
            for row in connection.execute(asked)
        }


def _named(engine: Engine) -> Iterator[str]:
    with reading(engine) as connection:
        rows = connection.execute(select(results.c.image, results.c.animation).order_by(results.c.job_id))
        return iter([name for row in rows for name in row])


def _references(engine: Engine, after: int = 0) -> tuple[set[str], int]:
    """The uploads that presets name, and jobs whose number is higher than ``after``; and the last number."""
    newer = select(jobs.c.number, jobs.c.parameters).where(jobs.c.number > after).order_by(jobs.c.number)
    used: set[str] = set()
    with reading(engine) as connection:
        for row in connection.execute(newer.execution_options(yield_per=_BATCH)):
            used |= set(_references_in(row.parameters))
            after = row.number
        for parameters in connection.execute(select(presets.c.parameters)).scalars():
            used |= set(_references_in(parameters))
    return used, after


def _references_in(value: Any) -> Iterator[str]:
    """All that could be one, wherever it stands: what a generator's parameters mean is not known here."""
    if isinstance(value, str) and REFERENCE.fullmatch(value):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _references_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references_in(inner)


def _reference_in(file: Stored) -> str:
    return file.name.removeprefix(f"{UPLOADS}/").removesuffix(".png")
