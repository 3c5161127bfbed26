"""The queue: who waits, who runs, and who is next.

People enqueue, look and cancel; executors claim, report and finish. A claim is a lease with a token: every
later write of its holder carries the token in its WHERE, so that a late executor changes nothing.

What people were told lasts through a power cut: that a job is accepted, cancelled, failed or done. What is
between them needs not: a claim that the cut undoes leaves the job in the queue, where the lease would have
put it anyway. So claims, heartbeats and progress do not wait for the disk.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Update,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from db import Prepared, reading, writing
from db.tables import ACTIVE, ENDED, LEFTOVER, RUNNING, WAITING, jobs, progress, results
from jobs import estimate, fairness
from jobs.clock import Clock, utc_now
from jobs.records import Claim, Counts, Job, JobState, Page, Position, Progress, Result
from jobs.rows import job_from, seen_by, select_jobs, upsert


class JobNotFound(LookupError):
    """There is no such job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id}: it was deleted, or never was.")


class TooManyWaiting(Exception):
    """The person has as many waiting jobs as one may have, or would have more with those asked for."""

    def __init__(self, limit: int, waiting: int) -> None:
        if waiting >= limit:
            sentence = f"You have {limit} waiting jobs, as many as one may: wait for one, or cancel one."
        else:
            sentence = (
                f"You have {waiting} waiting jobs, and may have {limit}: ask for fewer pictures at once, "
                "or wait for some."
            )
        super().__init__(sentence)


class LeaseLost(Exception):
    """The claim holds no longer: it expired and the job went back, or on to another executor."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(f"The lease on job {claim.job.id} is lost: another executor may have the job.")


ABANDONED = (
    "Every executor that tried it stopped without a word, as often as is allowed: "
    "try a smaller picture, or look into the executors' logs."
)

_SOURCES = {
    JobState.RUNNING: (JobState.QUEUED,),
    JobState.QUEUED: (JobState.RUNNING,),
    JobState.SUCCEEDED: (JobState.RUNNING,),
    JobState.FAILED: (JobState.RUNNING,),
    JobState.CANCELLED: (JobState.QUEUED, JobState.RUNNING),
}
"""From which states a job may come to a state. Nothing comes out of a final one."""


def _move(to: JobState, **values: Any) -> Update:
    """The only way a job changes its state."""
    if to is not JobState.RUNNING:
        values |= {"token": None, "lease_expires_at": None}
    if to.is_final:
        values |= {"checkpoint": None, "finished_at": bindparam("now")}
    may_move = or_(*(jobs.c.state == source.value for source in _SOURCES[to]))
    return update(jobs).where(may_move).values(state=to.value, **values)


_GIVEN_AT_FIRST = (
    *("id", "generator", "weights", "prompt", "parameters", "submitter", "state", "priority", "turn"),
    *("attempts", "max_attempts", "created_at", "cancel_requested", "untidy"),
)
_ADD = Prepared(insert(jobs).inline(), columns=_GIVEN_AT_FIRST)
_ADD_RESULT = Prepared(
    insert(results).inline(), columns=[column.name for column in results.c if column.server_default is None]
)
_WAITING_OF = (
    select(jobs.c.number)
    .where(ACTIVE, WAITING, jobs.c.submitter == bindparam("asking"))
    .limit(bindparam("limit"))
)
_COUNT_WAITING = Prepared(select(func.count().label("waiting")).select_from(_WAITING_OF.subquery()))
NEXT = (
    select(jobs.c.number)
    .where(WAITING)
    .order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.number)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_START = _move(
    JobState.RUNNING,
    executor=bindparam("by_executor"),
    token=bindparam("new_token"),
    lease_expires_at=bindparam("until"),
    started_at=bindparam("now"),
    attempts=jobs.c.attempts + 1,
    untidy=True,
).returning(*jobs.c)
_START_NEXT = Prepared(_START.where(jobs.c.number == NEXT.scalar_subquery()))
_START_CHOSEN = Prepared(_START.where(jobs.c.id == bindparam("chosen")))

_HELD = and_(jobs.c.id == bindparam("held_id"), jobs.c.token == bindparam("held_token"))
_RENEW = Prepared(
    update(jobs).where(_HELD).values(lease_expires_at=bindparam("until")).returning(jobs.c.cancel_requested)
)
_SUCCEED = Prepared(_move(JobState.SUCCEEDED).where(_HELD))
_FAIL = _move(JobState.FAILED, error=bindparam("reason")).where(_HELD)
_CANCEL_RUNNING = _move(JobState.CANCELLED).where(_HELD)
_CANCEL_WAITING = (
    _move(JobState.CANCELLED)
    .where(jobs.c.id == bindparam("wanted"), WAITING)
    .returning(jobs.c.submitter, jobs.c.priority, jobs.c.turn)
)
_FORGET_FRAME = Prepared(update(progress).where(progress.c.job_id == bindparam("held_id")).values(frame=None))


class Queue:
    """One queue on one database; any number of processes may hold one each.

    Args:
        engine: the database, migrated.
        lease_seconds: a claim expires unless renewed within this time.
        max_attempts: a job whose executors stopped or stumbled this often is failed.
        max_waiting_per_person: how many waiting jobs one submitter may have.
        clock: gives the time, aware.

    Every method raises ``db.DatabaseError`` when the database cannot be used.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease_seconds: float,
        max_attempts: int,
        max_waiting_per_person: int,
        clock: Clock = utc_now,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._engine = engine
        self._lease = timedelta(seconds=lease_seconds)
        self._max_attempts = max_attempts
        self._max_waiting = max_waiting_per_person
        self._clock = clock

    def enqueue(
        self, generator: str, parameters: Mapping[str, Any], *, submitter: str, priority: int = 0
    ) -> Job:
        """Put a job into the queue.

        ``parameters`` is the whole checked spec as plain data, with ``prompt`` and ``weights`` in it.
        Higher priorities start earlier.

        Raises:
            TooManyWaiting: the submitter has the allowed number of waiting jobs.
        """
        (job,) = self.enqueue_all(generator, [parameters], submitter=submitter, priority=priority)
        return job

    def enqueue_all(
        self,
        generator: str,
        batch: Sequence[Mapping[str, Any]],
        *,
        submitter: str,
        priority: int = 0,
    ) -> list[Job]:
        """Put a job into the queue for each of ``batch``, parameters as ``enqueue`` takes them: all or none.

        Raises:
            TooManyWaiting: the submitter would have more waiting jobs than one may have.
        """
        now = self._clock()
        asked = [self._new_job(generator, parameters, submitter, priority, now) for parameters in batch]
        with writing(self._engine) as connection:
            self._check_waiting(connection, submitter, len(asked))
            for job in asked:
                turn = fairness.give_turn(connection, submitter, priority)
                _ADD.run(connection, _row_of(job, turn))
        return asked

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises JobNotFound."""
        with reading(self._engine) as connection:
            return _get(connection, job_id)

    def counts(self) -> Counts:
        """How many jobs wait and run."""
        with reading(self._engine) as connection:
            waiting = connection.execute(select(func.count()).select_from(jobs).where(WAITING)).scalar_one()
            running = connection.execute(select(func.count()).select_from(jobs).where(RUNNING)).scalar_one()
        return Counts(waiting, running)

    def active(self, submitter: str) -> list[Job]:
        """A person's queued and running jobs, newest first."""
        mine = select_jobs().where(ACTIVE, jobs.c.submitter == submitter).order_by(jobs.c.number.desc())
        with reading(self._engine) as connection:
            return [job_from(row) for row in connection.execute(mine)]

    def search(
        self,
        submitter: str | None = None,
        state: JobState | None = None,
        page: int = 1,
        per_page: int = 20,
        *,
        person: str | None = None,
        all_hidden: bool = True,
    ) -> Page:
        """Jobs newest first, everybody's or one person's, in any state or one; pages count from 1.

        Unless ``all_hidden``, there are of those with a hidden result ``person``'s own only.
        """
        wanted = [true() if submitter is None else jobs.c.submitter == submitter]
        wanted += [] if state is None else [jobs.c.state == state.value]
        wanted += [] if all_hidden else [seen_by(person)]
        newest = select_jobs().where(*wanted).order_by(jobs.c.number.desc())
        counted = select(func.count()).select_from(jobs.outerjoin(results)).where(*wanted)
        with reading(self._engine) as connection:
            total = connection.execute(counted).scalar_one()
            items = connection.execute(newest.limit(per_page).offset((page - 1) * per_page))
            return Page([job_from(row) for row in items], total)

    def waiting_of(self, submitters: Sequence[str]) -> int:
        """How many jobs of these people wait."""
        theirs = (
            select(func.count()).select_from(jobs).where(ACTIVE, WAITING, jobs.c.submitter.in_(submitters))
        )
        with reading(self._engine) as connection:
            return connection.execute(theirs).scalar_one()

    def position(self, job_id: str) -> Position:
        """How many jobs start earlier, and when this one's picture should be done. Raises JobNotFound."""
        with reading(self._engine) as connection:
            job = _get(connection, job_id)
            ahead = _count_ahead(connection, job_id) if job.state is JobState.QUEUED else 0
            eta = estimate.seconds_left(connection, job, ahead, self._clock(), self._lease)
        return Position(ahead, eta)

    def cancel(self, job_id: str) -> Job:
        """Cancel a waiting job at once, a running one at its next step; a finished one stays as it is.

        Raises:
            JobNotFound: there is no such job.
        """
        with writing(self._engine) as connection:
            left = connection.execute(_CANCEL_WAITING, {"wanted": job_id, "now": self._clock()}).one_or_none()
            if left is not None:
                fairness.close_gap(connection, *left)
                _FORGET_FRAME.run(connection, {"held_id": job_id})
            else:
                connection.execute(
                    update(jobs).where(jobs.c.id == job_id, RUNNING).values(cancel_requested=True)
                )
            return _get(connection, job_id)

    def claim(self, executor_id: str, *, job_id: str | None = None) -> Claim | None:
        """Lease the next job, or the waiting job ``job_id`` out of turn; None when there is none."""
        now = self._clock()
        lease = {
            "by_executor": executor_id,
            "new_token": secrets.token_hex(8),
            "until": now + self._lease,
            "now": now,
        }
        with writing(self._engine, lasting=False) as connection:
            if job_id is None:
                rows, leave = _START_NEXT.run(connection, lease).rows, fairness.serve
            else:
                rows = _START_CHOSEN.run(connection, {**lease, "chosen": job_id}).rows
                leave = fairness.close_gap
            if not rows:
                return None
            (row,) = rows
            leave(connection, row["submitter"], row["priority"], row["turn"])
        return Claim(job_from(row), row["token"], row["lease_expires_at"], row["checkpoint"])

    def heartbeat(self, claim: Claim) -> bool:
        """Renew the lease; True when cancelling was asked for. Raises LeaseLost."""
        with writing(self._engine, lasting=False) as connection:
            return self._renew(connection, claim)

    def record_progress(self, claim: Claim, news: Progress) -> bool:
        """Show how far the job is, and renew the lease; True when cancelling was asked for.

        Raises:
            LeaseLost: nothing was recorded.
        """
        row = {
            "step": news.step,
            "steps": news.steps,
            "frame": news.frame,
            "history": news.history,
            "updated_at": news.updated_at,
        }
        with writing(self._engine, lasting=False) as connection:
            cancel_requested = self._renew(connection, claim)
            upsert(connection, progress, {"job_id": claim.job.id}, row)
        return cancel_requested

    def record_checkpoint(self, claim: Claim, name: str) -> None:
        """Note the artifact from which another executor would go on. Raises LeaseLost."""
        with writing(self._engine, lasting=False) as connection:
            _fenced(connection, claim, update(jobs).where(_HELD).values(checkpoint=name))

    def finish(self, claim: Claim, result: Result) -> None:
        """The job succeeded; its artifacts are published. Raises LeaseLost."""
        row = {
            "job_id": claim.job.id,
            "image": result.image,
            "animation": result.animation,
            "seconds": result.seconds,
            "numbers": result.numbers,
            "width": result.width,
            "height": result.height,
        }
        with writing(self._engine) as connection:
            held = {"held_id": claim.job.id, "held_token": claim.token, "now": self._clock()}
            if _SUCCEED.run(connection, held).count == 0:
                raise LeaseLost(claim)
            _ADD_RESULT.run(connection, row)
            _FORGET_FRAME.run(connection, {"held_id": claim.job.id})

    def fail(self, claim: Claim, error: str) -> None:
        """The job cannot be done, and trying again would not help. Raises LeaseLost."""
        self._write(claim, _FAIL, now=self._clock(), reason=error)

    def acknowledge_cancel(self, claim: Claim) -> None:
        """The work has stopped because cancelling was asked for. Raises LeaseLost."""
        self._write(claim, _CANCEL_RUNNING, now=self._clock())

    def release(self, claim: Claim) -> None:
        """Hand the job back in good order, without counting the attempt. Raises LeaseLost."""
        with writing(self._engine, lasting=False) as connection:
            self._put_back(connection, claim, attempts=jobs.c.attempts - 1)
            _forget_frames(connection, [claim.job.id])

    def retry(self, claim: Claim, error: str) -> None:
        """The attempt failed: hand the job back for a fresh start, or fail it when no attempt is left.

        Raises:
            LeaseLost: another executor may have the job.
        """
        with writing(self._engine) as connection:
            tired = _FAIL.where(jobs.c.attempts >= jobs.c.max_attempts, ~jobs.c.cancel_requested)
            if _run(connection, claim, tired, now=self._clock(), reason=error) == 0:
                self._put_back(connection, claim, checkpoint=None)
            _forget_frames(connection, [claim.job.id])

    def expire(self) -> int:
        """Take back the jobs whose executors fell silent, the attempt counted; returns how many."""
        now = self._clock()
        silent = select(jobs.c.id).where(RUNNING, jobs.c.lease_expires_at < now)
        with reading(self._engine) as connection:
            if connection.execute(silent.limit(1)).first() is None:
                return 0
        with writing(self._engine) as connection:
            ids = connection.execute(silent.with_for_update(skip_locked=True)).scalars().all()
            taken = jobs.c.id.in_(ids)
            tired = jobs.c.attempts >= jobs.c.max_attempts
            connection.execute(_move(JobState.CANCELLED).where(taken, jobs.c.cancel_requested), {"now": now})
            connection.execute(_move(JobState.FAILED, error=ABANDONED).where(taken, tired), {"now": now})
            connection.execute(_move(JobState.QUEUED, started_at=None).where(taken))
            _forget_frames(connection, ids)
        return len(ids)

    def leftovers(self) -> list[Job]:
        """Jobs that ended, and whose working files nobody has removed yet."""
        with reading(self._engine) as connection:
            return [job_from(row) for row in connection.execute(select_jobs().where(LEFTOVER))]

    def tidied(self, job_id: str) -> None:
        """Note that the working files of a job that ended are removed."""
        with writing(self._engine, lasting=False) as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id, LEFTOVER).values(untidy=False))

    def _new_job(
        self, generator: str, parameters: Mapping[str, Any], submitter: str, priority: int, now: datetime
    ) -> Job:
        asked = dict(parameters)
        return Job(
            id=_new_id(now),
            generator=generator,
            weights=asked.pop("weights"),
            prompt=asked.pop("prompt"),
            parameters=asked,
            submitter=submitter,
            state=JobState.QUEUED,
            priority=priority,
            attempts=0,
            max_attempts=self._max_attempts,
            created_at=now,
        )

    def _check_waiting(self, connection: Connection, submitter: str, more: int) -> None:
        who = {"asking": submitter, "limit": self._max_waiting}
        waiting = _COUNT_WAITING.run(connection, who).rows[0]["waiting"]
        if waiting + more > self._max_waiting:
            raise TooManyWaiting(self._max_waiting, waiting)

    def _renew(self, connection: Connection, claim: Claim) -> bool:
        held = {"held_id": claim.job.id, "held_token": claim.token}
        rows = _RENEW.run(connection, {**held, "until": self._clock() + self._lease}).rows
        if not rows:
            raise LeaseLost(claim)
        return bool(rows[0]["cancel_requested"])

    def _write(self, claim: Claim, statement: Update, **values: Any) -> None:
        with writing(self._engine) as connection:
            _fenced(connection, claim, statement, **values)
            _forget_frames(connection, [claim.job.id])

    def _put_back(self, connection: Connection, claim: Claim, **values: Any) -> None:
        cancelled = _CANCEL_RUNNING.where(jobs.c.cancel_requested)
        if _run(connection, claim, cancelled, now=self._clock()) == 0:
            _fenced(connection, claim, _move(JobState.QUEUED, started_at=None, **values).where(_HELD))


def _fenced(connection: Connection, claim: Claim, statement: Update, **values: Any) -> None:
    if _run(connection, claim, statement, **values) == 0:
        raise LeaseLost(claim)


def _run(connection: Connection, claim: Claim, statement: Update, **values: Any) -> int:
    held = {"held_id": claim.job.id, "held_token": claim.token}
    return connection.execute(statement, {**held, **values}).rowcount


def _forget_frames(connection: Connection, job_ids: Sequence[str]) -> None:
    """Jobs that ended name no live frame, for it goes with the end."""
    ended = select(jobs.c.id).where(jobs.c.id.in_(job_ids), ENDED)
    connection.execute(update(progress).where(progress.c.job_id.in_(ended)).values(frame=None))


def _get(connection: Connection, job_id: str) -> Job:
    row = connection.execute(select_jobs().where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise JobNotFound(job_id)
    return job_from(row)


def _count_ahead(connection: Connection, job_id: str) -> int:
    mine = connection.execute(
        select(jobs.c.priority, jobs.c.turn, jobs.c.number).where(jobs.c.id == job_id)
    ).one()
    same_turn = and_(jobs.c.turn == mine.turn, jobs.c.number < mine.number)
    same_priority = and_(jobs.c.priority == mine.priority, or_(jobs.c.turn < mine.turn, same_turn))
    ahead = select(func.count()).select_from(jobs)
    ahead = ahead.where(WAITING, or_(jobs.c.priority > mine.priority, same_priority))
    return connection.execute(ahead).scalar_one()


def _new_id(now: datetime) -> str:
    """Sorts by time, so that new rows stand together on disk."""
    return f"{int(now.timestamp() * 1000):011x}{secrets.token_hex(5)}"


def _row_of(job: Job, turn: int) -> dict[str, Any]:
    return {
        "id": job.id,
        "generator": job.generator,
        "weights": job.weights,
        "prompt": job.prompt,
        "parameters": job.parameters,
        "submitter": job.submitter,
        "state": job.state.value,
        "priority": job.priority,
        "turn": turn,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "created_at": job.created_at,
        "cancel_requested": job.cancel_requested,
        "untidy": False,
    }
