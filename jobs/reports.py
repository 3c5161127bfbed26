"""What people find wrong with results, and what becomes of these: hidden, shown again, settled."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from db import reading, writing
from db.tables import SUCCEEDED, jobs, reports, results
from jobs.clock import Clock, utc_now
from jobs.queue import JobNotFound
from jobs.records import Job
from jobs.rows import job_from, select_results

MAX_REASON = 500


class ReportRefused(ValueError):
    """A report cannot be taken like that; the text says why."""


class AlreadyReported(Exception):
    """The person has reported this result."""

    def __init__(self) -> None:
        super().__init__("You have reported this picture already; an admin will look at it.")


@dataclass(frozen=True)
class Report:
    """What one person finds wrong."""

    reason: str
    created_at: datetime


@dataclass(frozen=True)
class Reported:
    """A result and the reports on it that nobody has settled, oldest first."""

    job: Job
    reports: Sequence[Report]


class Reports:
    """Reports on results. Every method raises ``db.DatabaseError`` when it must."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, job_id: str, person: str, reason: str) -> None:
        """Tell the admins of a result.

        Raises:
            AlreadyReported: the person has done so.
            JobNotFound: there is no such result.
            ReportRefused: the reason is empty or too long.
        """
        reason = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
        if not 0 < len(reason) <= MAX_REASON:
            raise ReportRefused(f"A report needs a reason of 1 to {MAX_REASON} letters: type one.")
        row = {"job_id": job_id, "person": person, "reason": reason, "created_at": self._clock()}
        with writing(self._engine) as connection:
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id, SUCCEEDED)).first() is None:
                raise JobNotFound(job_id)
            try:
                connection.execute(insert(reports), row)
            except IntegrityError as error:
                raise AlreadyReported from error

    def open(self) -> Sequence[Reported]:
        """Results with reports that nobody has settled, the longest waiting first."""
        with reading(self._engine) as connection:
            unsettled = select(reports).where(reports.c.settled_at.is_(None)).order_by(reports.c.number)
            by_job = defaultdict(list)
            for row in connection.execute(unsettled):
                by_job[row.job_id].append(Report(row.reason, row.created_at))
            found = connection.execute(select_results().where(jobs.c.id.in_(by_job)))
            by_id = {job.id: job for job in map(job_from, found)}
        return [Reported(by_id[job_id], told) for job_id, told in by_job.items() if job_id in by_id]

    def settle(self, job_id: str) -> None:
        """Note that an admin has looked at all reports on a result."""
        unsettled = update(reports).where(reports.c.job_id == job_id, reports.c.settled_at.is_(None))
        with writing(self._engine) as connection:
            connection.execute(unsettled.values(settled_at=self._clock()))

    def hide(self, job_id: str, *, hidden: bool) -> None:
        """Take a result out of everybody's sight but its owner's and the admins', or show it again.

        Raises:
            JobNotFound: there is no such result.
        """
        with writing(self._engine) as connection:
            changed = update(results).where(results.c.job_id == job_id).values(hidden=hidden)
            if connection.execute(changed).rowcount == 0:
                raise JobNotFound(job_id)
