"""The executor: claims a job, has it drawn, and goes on to the next."""

import logging
import os
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import logs
from db import DatabaseError
from jobs.attempt import RESULT, WORKING_FOLDERS, Attempt
from jobs.executors import Executors
from jobs.heart import Heart, Lease
from jobs.painter import Painter
from jobs.queue import JobNotFound, LeaseLost, Queue
from jobs.records import Claim, Job
from jobs.upkeep import Upkeep
from settings import ExecutorSettings
from store import ArtifactStore, StoreError, folder_of

TROUBLE_SECONDS = 2.0
"""How long an executor rests before it tries again a store or database that failed."""

MOST_UNKEPT = 3
"""How often in a row the store may refuse a job's files before the attempt counts as failed."""

_BEATS_A_LEASE = 3

_log = logging.getLogger(__name__)


class Executor:
    """One process on one device. Any number of them share a queue and a store.

    Args:
        queue: where the jobs are.
        executors: the register to be on while running.
        store: where the pictures go.
        painter: turns jobs into frames.
        settings: how often to look, beat, show and save.
        device: what people read on the system page.
        threads: likewise.
        upkeep: seen to while there is no job.
    """

    def __init__(
        self,
        queue: Queue,
        executors: Executors,
        store: ArtifactStore,
        painter: Painter,
        settings: ExecutorSettings,
        *,
        device: str,
        threads: int,
        upkeep: Upkeep | None = None,
    ) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._queue = queue
        self._executors = executors
        self._store = store
        self._painter = painter
        self._settings = settings
        self._device = device
        self._threads = threads
        self._upkeep = upkeep
        self._trouble: str | None = None
        self._unkept: Counter[str] = Counter()

    def run(self, stop: threading.Event, *, job_id: str | None = None) -> None:
        """Work until ``stop`` is set, or only on ``job_id`` until that has ended.

        Raises:
            DatabaseError: the database cannot be used at the start; later the executor waits until it can.
        """
        with logs.about(executor=self.id):
            self._run(stop, job_id)

    def _run(self, stop: threading.Event, job_id: str | None) -> None:
        self._register()
        alive_file = None if self._settings.alive_file is None else Path(self._settings.alive_file)
        beat_seconds = min(self._settings.heartbeat_seconds, self._queue.lease_seconds / _BEATS_A_LEASE)
        _log.info("executor %s takes jobs on %s with %d threads", self.id, self._device, self._threads)
        try:
            with (
                Heart(self._queue, self._report, beat_seconds, alive_file) as heart,
                closing(self._queue.wakeup()) as wakeup,
            ):
                while not stop.is_set() and not self._has_ended(job_id):
                    if self._turn(heart, stop, job_id):
                        continue
                    if self._trouble:
                        stop.wait(TROUBLE_SECONDS)
                    else:
                        wakeup.wait(stop, self._settings.poll_seconds)
        finally:
            with suppress(DatabaseError):
                self._executors.leave(self.id)
        _log.info("executor %s leaves", self.id)

    def _turn(self, heart: Heart, stop: threading.Event, job_id: str | None) -> bool:
        """Work on one job, where there is one; False when there was nothing to do or no way to do it."""
        try:
            if self._trouble:
                self._store.check()
            self._queue.expire()
            claim = self._queue.claim(self.id, job_id=job_id, able=self._painter.able())
            if claim is not None:
                with heart.holding(claim) as lease, logs.about(**lease.facts):
                    self._work(lease, stop)
            elif self._upkeep is not None:
                self._upkeep.see_to_it(self.id)
            self._sweep()
        except (StoreError, DatabaseError) as error:
            self._pause(error)
            return False
        self._trouble = None
        return claim is not None

    def _work(self, lease: Lease, stop: threading.Event) -> None:
        claim, job = lease.claim, lease.claim.job
        _log.info("attempt %d at %r", job.attempts, job.prompt)
        attempt = Attempt(lease, self._queue, self._store, self._painter, self._settings, stop)
        try:
            _log.info("%s", attempt.run())
            self._unkept.clear()
        except LeaseLost as error:
            self._give_way(job, error)
        except DatabaseError:
            self._tell(claim, self._queue.release)
            raise
        except StoreError as error:
            self._give_back_unkept(claim, str(error))
            raise
        except self._painter.hopeless as error:
            _log.warning("cannot be done: %s", error)
            sentence = str(error)
            self._tell(claim, lambda held: self._queue.fail(held, sentence))
        except Exception as error:
            _log.exception("attempt %d failed", job.attempts)
            sentence = _sentence(error)
            self._tell(claim, lambda held: self._queue.retry(held, sentence))

    def _give_back_unkept(self, claim: Claim, reason: str) -> None:
        """Uncounted, for the store failed and not the job; unless it does so again while nothing succeeds."""
        self._unkept[claim.job.id] += 1
        if self._unkept[claim.job.id] % MOST_UNKEPT == 0:
            self._tell(claim, lambda held: self._queue.retry(held, reason))
        else:
            self._tell(claim, self._queue.release)

    def _tell(self, claim: Claim, verb: Callable[[Claim], None]) -> None:
        try:
            verb(claim)
        except LeaseLost as error:
            self._give_way(claim.job, error)
        except DatabaseError as error:
            _log.warning("left to its lease, for the queue cannot be told: %s", error)

    def _give_way(self, job: Job, error: LeaseLost) -> None:
        """Leave the job to whoever has it; if it has ended, what was written late goes."""
        _log.warning("%s", error)
        with suppress(JobNotFound):
            now = self._queue.get(job.id)
            if now.state.is_final:
                self._remove_files(now)
            return
        self._store.delete_job(job.id)

    def _sweep(self) -> None:
        for leftover in self._queue.leftovers():
            with logs.about(job=leftover.id), suppress(JobNotFound):  # it was deleted since
                job = self._queue.get(leftover.id)
                if job.state.is_final:  # nobody has asked for it again
                    self._remove_files(job)
                    self._queue.tidied(job.id)

    def _remove_files(self, job: Job) -> None:
        """A result keeps its pictures and nothing else; what did not succeed keeps nothing."""
        rounds = range(job.round + 1)
        self._store.delete_job(
            job.id, *(job.place(folder, round) for folder in WORKING_FOLDERS for round in rounds)
        )
        published = tuple(f"jobs/{job.id}/{job.place(RESULT, round)}" for round in rounds)
        kept = None if job.result is None else folder_of(job.result.image)
        for file in self._store.files(f"jobs/{job.id}"):
            if file.name.startswith(published) and folder_of(file.name) != kept:
                self._store.delete(file.name)

    def _pause(self, error: Exception) -> None:
        if self._trouble != str(error):
            _log.error("takes no jobs until this is mended: %s", error)
        self._trouble = str(error)
        with suppress(DatabaseError):
            self._report()

    def _report(self) -> None:
        if not self._executors.beat(self.id, self._trouble, self._painter.able()):
            self._register()

    def _register(self) -> None:
        able = self._painter.able()
        self._executors.register(self.id, device=self._device, threads=self._threads, able=able)

    def _has_ended(self, job_id: str | None) -> bool:
        """A job that was deleted has, too; where the database cannot be asked, it is asked again later."""
        try:
            return job_id is not None and self._queue.get(job_id).state.is_final
        except JobNotFound:
            return True
        except DatabaseError:
            return False


def _sentence(error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    told = f"{kind}: {reason}" if reason else kind
    return f"The generator broke down as often as is allowed ({told}): see the executor's log."
