"""The queue: who waits, who runs, and who is next.

People enqueue, look and cancel; executors claim, report and finish. A claim is a lease with a token: every
later write of its holder carries the token in its WHERE, so that a late executor changes nothing.

What people were told lasts through a power cut: that a job is accepted, cancelled, failed or done. What is
between them needs not: a claim that the cut undoes leaves the job in the queue, where the lease would have
put it anyway. So claims, heartbeats and progress do not wait for the disk.

Times are for people to read. Nothing that happens to a job depends on them, for clocks jump, and differ
between machines: who fell silent is told by watching (``jobs/observer.py``).
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from db import Direct, Prepared, reading, writing, writing_directly
from db.tables import ACTIVE, ENDED, LEFTOVER, RUNNING, WAITING, attempts, jobs, progress, results, switches
from jobs import choosing, estimate, fairness
from jobs.clock import Clock, Stopwatch, stopwatch, utc_now
from jobs.executors import Executors
from jobs.moves import archive, move
from jobs.observer import Observer
from jobs.records import (
    ANYTHING,
    AttemptOutcome,
    Capabilities,
    Claim,
    Counts,
    Job,
    JobState,
    Page,
    Pause,
    Position,
    Progress,
    Result,
)
from jobs.rows import job_from, seen_by, select_jobs, upsert
from jobs.wakeup import Wakeup, wake

_LOOKS_A_LEASE = 6
"""How often in the time of a lease a queue looks who renewed theirs, however often it is asked to."""

_log = logging.getLogger(__name__)


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


class NotFailed(Exception):
    """Only a job that failed may be asked for again."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"Only a failed job can be asked for again, and job {job.id} is {job.state}: "
            "ask for a new picture instead."
        )


_GIVEN_AT_FIRST = (
    *("id", "generator", "weights", "prompt", "parameters", "submitter", "state", "priority", "turn"),
    *("attempts", "max_attempts", "created_at", "cancel_requested", "untidy", "needs_memory"),
)
_ADD = Prepared(insert(jobs).inline(), columns=_GIVEN_AT_FIRST)
_ADD_RESULT = Prepared(
    insert(results).inline(), columns=[column.name for column in results.c if column.server_default is None]
)
_HELD = and_(jobs.c.id == bindparam("held_id"), jobs.c.token == bindparam("held_token"))
_RENEW = Prepared(update(jobs).where(_HELD).values(beats=jobs.c.beats + 1).returning(jobs.c.cancel_requested))
_SUCCEED = Prepared(move(JobState.SUCCEEDED).where(_HELD).returning(jobs.c.number))
_FAIL = move(JobState.FAILED, error=bindparam("reason")).where(_HELD)
_CANCEL_RUNNING = move(JobState.CANCELLED).where(_HELD)
_CANCEL_WAITING = (
    move(JobState.CANCELLED)
    .where(jobs.c.id == bindparam("wanted"), WAITING)
    .returning(jobs.c.submitter, jobs.c.priority, jobs.c.turn)
)
_ASK_AGAIN = move(
    JobState.QUEUED,
    turn=bindparam("new_turn"),
    round=jobs.c.round + 1,
    attempts=0,
    started_at=None,
    finished_at=None,
    error=None,
    cancel_requested=False,
    passed_over_at=None,
)
_LEASES = select(
    *(jobs.c.id, jobs.c.token, jobs.c.beats, jobs.c.attempts, jobs.c.max_attempts, jobs.c.cancel_requested)
).where(RUNNING)
_FORGET_FRAME = Prepared(update(progress).where(progress.c.job_id == bindparam("held_id")).values(frame=None))


class Queue:
    """One queue on one database; any number of processes may hold one each.

    Args:
        engine: the database, migrated.
        lease_seconds: a claim that others see unrenewed for so long is taken back.
        max_attempts: a job whose executors stopped or stumbled this often is failed.
        max_waiting_per_person: how many waiting jobs one submitter may have.
        keep_weights_seconds: for so long a waiting job may be passed over by executors that take later
            jobs, whose weights they have loaded; 0 for never.
        clock: gives the time, aware.
        stopwatch: gives the seconds that pass.

    Every method raises ``db.DatabaseError`` when the database cannot be used.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease_seconds: float,
        max_attempts: int,
        max_waiting_per_person: int,
        keep_weights_seconds: float = 0,
        clock: Clock = utc_now,
        stopwatch: Stopwatch = stopwatch,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._engine = engine
        self._executors = Executors(engine, alive_seconds=lease_seconds, clock=clock, stopwatch=stopwatch)
        self._leases = Observer(stopwatch, blind_seconds=lease_seconds / 2)
        self._keep_weights = timedelta(seconds=keep_weights_seconds)
        self._max_attempts = max_attempts
        self._max_waiting = max_waiting_per_person
        self._clock = clock

    def enqueue(
        self,
        generator: str,
        parameters: Mapping[str, Any],
        *,
        submitter: str,
        priority: int = 0,
        needs_memory: int = 0,
    ) -> Job:
        """Put a job into the queue.

        ``parameters`` is the whole checked spec as plain data, with ``prompt`` and ``weights`` in it.
        Higher priorities start earlier. Executors with less memory than ``needs_memory``, in bytes, leave the
        job to others; 0 if unknown.

        Raises:
            TooManyWaiting: the submitter has the allowed number of waiting jobs.
        """
        (job,) = self.enqueue_all(
            generator, [parameters], submitter=submitter, priority=priority, needs_memory=needs_memory
        )
        return job

    def enqueue_all(
        self,
        generator: str,
        batch: Sequence[Mapping[str, Any]],
        *,
        submitter: str,
        priority: int = 0,
        needs_memory: int = 0,
    ) -> list[Job]:
        """Put a job into the queue for each of ``batch``, parameters as ``enqueue`` takes them: all or none.

        Raises:
            TooManyWaiting: the submitter would have more waiting jobs than one may have.
        """
        now = self._clock()
        asked = [
            self._new_job(generator, parameters, submitter, priority, needs_memory, now)
            for parameters in batch
        ]
        with writing_directly(self._engine) as connection:
            fairness.enter_line(connection, submitter)
            turns = self._give_turns(connection, submitter, priority, len(asked))
            for job, turn in zip(asked, turns, strict=True):
                _ADD.send(connection, _row_of(job, turn))
            wake(connection)
        return asked

    def again(self, job_id: str) -> Job:
        """Put a failed job back into the queue, for a fresh start with a new turn; its history stays.

        Raises:
            JobNotFound: there is no such job.
            NotFailed: it did not fail.
            TooManyWaiting: the submitter has the allowed number of waiting jobs.
        """
        asked = jobs.c.id == job_id
        with writing(self._engine) as connection:
            _enter_line_of(connection, job_id)
            _stand_still(connection, asked)
            job = _get(connection, job_id)
            if job.state is not JobState.FAILED or job.finished_at is None:
                raise NotFailed(job)
            (turn,) = self._give_turns(connection, job.submitter, job.priority, 1)
            archive(connection, asked, AttemptOutcome.GIVEN_UP, job.error, job.finished_at)
            connection.execute(_ASK_AGAIN.where(asked), {"new_turn": turn})
            connection.execute(delete(progress).where(progress.c.job_id == job_id))
            wake(connection)
            return _get(connection, job_id)

    def pause(self, by: str) -> None:
        """Start no job until somebody resumes; those that run go on."""
        with writing(self._engine) as connection:
            upsert(
                connection,
                switches,
                {"name": choosing.PAUSED},
                {"changed_by": by, "changed_at": self._clock()},
            )
        _log.info("the queue is paused by %s", by)

    def resume(self, by: str) -> None:
        """Start jobs again."""
        with writing(self._engine) as connection:
            connection.execute(delete(switches).where(switches.c.name == choosing.PAUSED))
            wake(connection)
        _log.info("the queue is resumed by %s", by)

    def paused(self) -> Pause | None:
        """Who paused the queue, and when; None while it goes on."""
        with reading(self._engine) as connection:
            return _paused(connection)

    def wakeup(self) -> Wakeup:
        """What an executor with nothing to do waits on."""
        return Wakeup(self._engine)

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises JobNotFound."""
        with reading(self._engine) as connection:
            return _get(connection, job_id)

    def counts(self) -> Counts:
        """How many jobs wait and run, and whether the queue is paused."""
        with reading(self._engine) as connection:
            waiting = connection.execute(select(func.count()).select_from(jobs).where(WAITING)).scalar_one()
            running = connection.execute(select(func.count()).select_from(jobs).where(RUNNING)).scalar_one()
            return Counts(waiting, running, paused=_paused(connection) is not None)

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
        """How many jobs start earlier, when this one's picture should be done, and what stands in its way.

        Raises:
            JobNotFound: there is no such job.
        """
        alive = self._executors.alive()
        with reading(self._engine) as connection:
            job = _get(connection, job_id)
            if job.state is not JobState.QUEUED:
                return Position(0, estimate.seconds_left(connection, job, self._clock()))
            ahead, obstacle = _count_ahead(connection, job_id), choosing.obstacle(job, alive)
            stands = obstacle is not None or _paused(connection) is not None
            wait = estimate.seconds_to_wait(connection, ahead, executors=0 if stands else len(alive))
        return Position(ahead, wait, obstacle)

    def cancel(self, job_id: str) -> Job:
        """Cancel a waiting job at once, a running one at its next step; a finished one stays as it is.

        Raises:
            JobNotFound: there is no such job.
        """
        with writing(self._engine) as connection:
            _enter_line_of(connection, job_id)
            _stand_still(connection, jobs.c.id == job_id)
            left = connection.execute(_CANCEL_WAITING, {"wanted": job_id, "now": self._clock()}).one_or_none()
            if left is not None:
                fairness.close_gap(connection, *left)
                wake(connection)
                _FORGET_FRAME.send(connection, {"held_id": job_id})
            else:
                connection.execute(
                    update(jobs).where(jobs.c.id == job_id, RUNNING).values(cancel_requested=True)
                )
            return _get(connection, job_id)

    def claim(
        self, executor_id: str, *, job_id: str | None = None, able: Capabilities = ANYTHING
    ) -> Claim | None:
        """Lease the next job that the executor can draw; None when there is none, or the queue is paused.

        With ``job_id`` lease that waiting job, out of turn and whatever it needs.
        """
        lease = {"by_executor": executor_id, "new_token": secrets.token_hex(8), "now": self._clock()}
        if job_id is None:
            with writing_directly(self._engine, lasting=False) as connection:
                row = choosing.start(connection, lease, able, self._keep_weights)
        else:
            with writing(self._engine, lasting=False) as connection:
                _enter_line_of(connection, job_id)
                row = choosing.start_chosen(connection, lease, job_id)
        return None if row is None else Claim(job_from(row), row["token"], row["checkpoint"])

    def heartbeat(self, claim: Claim) -> bool:
        """Renew the lease; True when cancelling was asked for. Raises LeaseLost."""
        with writing_directly(self._engine, lasting=False) as connection:
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
        with writing_directly(self._engine, lasting=False) as connection:
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
        with writing_directly(self._engine) as connection:
            held = {"held_id": claim.job.id, "held_token": claim.token, "now": self._clock()}
            if not _SUCCEED.run(connection, held):
                raise LeaseLost(claim)
            _ADD_RESULT.send(connection, row)
            _FORGET_FRAME.send(connection, {"held_id": claim.job.id})

    def fail(self, claim: Claim, error: str) -> None:
        """The job cannot be done, and trying again would not help. Raises LeaseLost."""
        self._write(claim, _FAIL, now=self._clock(), reason=error)

    def acknowledge_cancel(self, claim: Claim) -> None:
        """The work has stopped because cancelling was asked for. Raises LeaseLost."""
        self._write(claim, _CANCEL_RUNNING, now=self._clock())

    def release(self, claim: Claim) -> None:
        """Hand the job back in good order, without counting the attempt. Raises LeaseLost."""
        with writing(self._engine, lasting=False) as connection:
            self._put_back(connection, claim, AttemptOutcome.HANDED_BACK, attempts=jobs.c.attempts - 1)
            _forget_frames(connection, [claim.job.id])
            wake(connection)

    def retry(self, claim: Claim, error: str) -> None:
        """The attempt failed: hand the job back for a fresh start, or fail it when no attempt is left.

        Raises:
            LeaseLost: another executor may have the job.
        """
        with writing(self._engine) as connection:
            tired = _FAIL.where(jobs.c.attempts >= jobs.c.max_attempts, ~jobs.c.cancel_requested)
            if _run(connection, claim, tired, now=self._clock(), reason=error) == 0:
                self._put_back(connection, claim, AttemptOutcome.FAILED, error, checkpoint=None)
            _forget_frames(connection, [claim.job.id])
            wake(connection)

    def expire(self) -> int:
        """Take back the jobs whose executors fell silent, the attempt counted; returns how many.

        It takes a lease's time of looking, so whoever wants it done calls this again and again. Only some
        of the calls look.
        """
        if self._leases.seconds_since_look() < self.lease_seconds / _LOOKS_A_LEASE:
            return 0
        with reading(self._engine) as connection:
            held = {row.id: (row.token, row.beats) for row in connection.execute(_LEASES)}
        unchanged = self._leases.look(held)
        silent = [job_id for job_id, seconds in unchanged.items() if seconds >= self.lease_seconds]
        if not silent:
            return 0
        with writing(self._engine) as connection:
            still = _LEASES.where(jobs.c.id.in_(silent)).with_for_update(skip_locked=True)
            rows = [row for row in connection.execute(still) if (row.token, row.beats) == held[row.id]]
            for row in rows:
                self._take_back(connection, row)
            _forget_frames(connection, [row.id for row in rows])
            wake(connection)
        return len(rows)

    def leftovers(self) -> list[Job]:
        """Jobs that ended, and whose working files nobody has removed yet."""
        with reading(self._engine) as connection:
            return [job_from(row) for row in connection.execute(select_jobs().where(LEFTOVER))]

    def tidied(self, job_id: str) -> None:
        """Note that the working files of a job that ended are removed."""
        with writing(self._engine, lasting=False) as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id, LEFTOVER).values(untidy=False))

    def _new_job(
        self,
        generator: str,
        parameters: Mapping[str, Any],
        submitter: str,
        priority: int,
        needs_memory: int,
        now: datetime,
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
            needs_memory=needs_memory,
        )

    def _give_turns(
        self, connection: Connection | Direct, submitter: str, priority: int, count: int
    ) -> Sequence[int]:
        line = fairness.look(connection, submitter, priority, count_to=self._max_waiting)
        if line.waiting + count > self._max_waiting:
            raise TooManyWaiting(self._max_waiting, line.waiting)
        return fairness.give_turns(connection, submitter, priority, line, count)

    def _renew(self, connection: Connection | Direct, claim: Claim) -> bool:
        rows = _RENEW.run(connection, {"held_id": claim.job.id, "held_token": claim.token})
        if not rows:
            raise LeaseLost(claim)
        return bool(rows[0]["cancel_requested"])

    def _write(self, claim: Claim, statement: Update, **values: Any) -> None:
        with writing(self._engine) as connection:
            _fenced(connection, claim, statement, **values)
            _forget_frames(connection, [claim.job.id])

    def _put_back(
        self,
        connection: Connection,
        claim: Claim,
        outcome: AttemptOutcome,
        reason: str | None = None,
        **values: Any,
    ) -> None:
        now, held = self._clock(), and_(jobs.c.id == claim.job.id, jobs.c.token == claim.token)
        _stand_still(connection, held)
        if _run(connection, claim, _CANCEL_RUNNING.where(jobs.c.cancel_requested), now=now) == 0:
            archive(connection, held, outcome, reason, now)
            _fenced(connection, claim, move(JobState.QUEUED, started_at=None, **values).where(_HELD))

    def _take_back(self, connection: Connection, row: Row[*tuple[Any, ...]]) -> None:
        taken, now = jobs.c.id == row.id, self._clock()
        if row.cancel_requested:
            connection.execute(move(JobState.CANCELLED).where(taken), {"now": now})
        elif row.attempts >= row.max_attempts:
            sentence = _deadly(_count_lost(connection, row.id) + 1, row.attempts)
            connection.execute(move(JobState.FAILED, error=sentence).where(taken), {"now": now})
        else:
            archive(connection, taken, AttemptOutcome.LOST, None, now)
            connection.execute(move(JobState.QUEUED, started_at=None).where(taken, RUNNING))


def _stand_still(connection: Connection, job: ColumnElement[bool]) -> None:
    """Nobody else changes the job until this transaction ends; who does so now is waited for."""
    connection.execute(select(jobs.c.id).where(job).with_for_update())


def _fenced(connection: Connection, claim: Claim, statement: Update, **values: Any) -> None:
    if _run(connection, claim, statement, **values) == 0:
        raise LeaseLost(claim)


def _run(connection: Connection, claim: Claim, statement: Update, **values: Any) -> int:
    held = {"held_id": claim.job.id, "held_token": claim.token}
    return connection.execute(statement, {**held, **values}).rowcount


def _deadly(lost: int, attempts: int) -> str:
    return (
        f"It was set aside because executors stopped while drawing it, in {lost} of {attempts} attempts: "
        "try a smaller picture, or look into the logs of the executors that its history names."
    )


def _count_lost(connection: Connection, job_id: str) -> int:
    """How many attempts ended with a silent executor since the job was asked for, the last time."""
    mine = attempts.c.job_id == job_id
    given_up = select(func.coalesce(func.max(attempts.c.number), 0)).where(
        mine, attempts.c.outcome == AttemptOutcome.GIVEN_UP
    )
    lost = and_(attempts.c.outcome == AttemptOutcome.LOST, attempts.c.number > given_up.scalar_subquery())
    return connection.execute(select(func.count()).select_from(attempts).where(mine, lost)).scalar_one()


def _paused(connection: Connection) -> Pause | None:
    row = connection.execute(select(switches).where(switches.c.name == choosing.PAUSED)).one_or_none()
    return None if row is None else Pause(row.changed_by, row.changed_at)


def _forget_frames(connection: Connection, job_ids: Sequence[str]) -> None:
    """Jobs that ended name no live frame, for it goes with the end."""
    ended = select(jobs.c.id).where(jobs.c.id.in_(job_ids), ENDED)
    connection.execute(update(progress).where(progress.c.job_id.in_(ended)).values(frame=None))


def _get(connection: Connection, job_id: str) -> Job:
    row = connection.execute(select_jobs().where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise JobNotFound(job_id)
    return job_from(row)


def _enter_line_of(connection: Connection, job_id: str) -> None:
    submitter = connection.execute(select(jobs.c.submitter).where(jobs.c.id == job_id)).scalar()
    if submitter is not None:
        fairness.enter_line(connection, submitter)


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
        "needs_memory": job.needs_memory,
    }
