"""The queue: who waits, who runs, and who is next."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from jobs.records import Claim, Counts, Job, Position, Progress, Result


class JobNotFound(LookupError):
    """There is no such job."""


class TooManyWaiting(Exception):
    """The person has as many waiting jobs as one may have."""


class LeaseLost(Exception):
    """The claim is no longer valid: it expired and the job went back, or on to someone else."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Queue:
    def __init__(
        self,
        engine: Engine,
        *,
        lease_seconds: float,
        max_attempts: int,
        max_waiting_per_person: int,
        clock: Callable[[], datetime] = utc_now,
    ) -> None: ...

    # for people
    def enqueue(
        self, generator: str, parameters: Mapping[str, Any], *, submitter: str, priority: int = 0
    ) -> Job:
        """``parameters`` is the whole spec as plain data. Raises TooManyWaiting."""
        raise NotImplementedError

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        raise NotImplementedError

    def counts(self) -> Counts:
        raise NotImplementedError

    def active(self, submitter: str) -> list[Job]:
        """Queued or running jobs of that person, newest first."""
        raise NotImplementedError

    def position(self, job_id: str) -> Position:
        """Raises JobNotFound."""
        raise NotImplementedError

    def cancel(self, job_id: str) -> Job:
        """A waiting job at once, a running one at its next step. Raises JobNotFound."""
        raise NotImplementedError

    # for executors
    def claim(self, executor_id: str) -> Claim | None:
        raise NotImplementedError

    def heartbeat(self, claim: Claim) -> bool:
        """Renew; True when cancelling was asked for. Raises LeaseLost."""
        raise NotImplementedError

    def record_progress(self, claim: Claim, progress: Progress) -> bool:
        """True when cancelling was asked for. Raises LeaseLost."""
        raise NotImplementedError

    def finish(self, claim: Claim, result: Result) -> None: ...
    def fail(self, claim: Claim, error: str) -> None: ...
    def acknowledge_cancel(self, claim: Claim) -> None: ...
    def release(self, claim: Claim) -> None: ...
    def expire(self) -> int:
        raise NotImplementedError
