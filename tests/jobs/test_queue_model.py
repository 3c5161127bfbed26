"""The queue against a model of it, in any order of events."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

import db
from jobs.clock import utc_now
from jobs.queue import LeaseLost, Queue, TooManyWaiting
from jobs.records import Claim, JobState, Progress, Result
from tests.conftest import NewDatabase
from tests.jobs.conftest import TurnableClock

LEASE_SECONDS = 10.0
MAX_ATTEMPTS = 2
MAX_WAITING = 4
RESULT = Result("picture.png", "animation.gif", 1.0, {}, 64, 64)


@dataclass
class ModelJob:
    number: int
    submitter: str
    priority: int
    turn: int
    state: JobState = JobState.QUEUED
    attempts: int = 0
    cancel_requested: bool = False
    token: str | None = None
    expires: float = 0.0


@dataclass
class Model:
    """What the queue promises, written without a thought of speed."""

    now: float = 0.0
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    given: dict[tuple[int, str], int] = field(default_factory=dict)
    served: dict[int, int] = field(default_factory=dict)

    def waiting(self) -> list[str]:
        queued = [(j.number, i) for i, j in self.jobs.items() if j.state is JobState.QUEUED]
        return [i for _, i in sorted(queued, key=lambda pair: self.order(pair[1]))]

    def order(self, job_id: str) -> tuple[int, int, int]:
        job = self.jobs[job_id]
        return -job.priority, job.turn, job.number

    def enqueue(self, job_id: str, submitter: str, priority: int) -> None:
        newcomer = self.served.get(priority, 0) + 1
        turn = max(self.given.get((priority, submitter), -9) + 2, newcomer)
        self.given[priority, submitter] = turn
        self.jobs[job_id] = ModelJob(len(self.jobs), submitter, priority, turn)

    def start(self, job_id: str, token: str) -> None:
        job = self.jobs[job_id]
        job.state, job.token, job.expires = JobState.RUNNING, token, self.now + LEASE_SECONDS
        job.attempts += 1
        self.served[job.priority] = max(self.served.get(job.priority, 0), job.turn)

    def cancel_waiting(self, job_id: str) -> None:
        left = self.jobs[job_id]
        left.state = JobState.CANCELLED
        self.given[left.priority, left.submitter] -= 2
        for job in self.jobs.values():
            behind = (
                job.submitter == left.submitter and job.priority == left.priority and job.turn > left.turn
            )
            if behind and job.state is JobState.QUEUED:
                job.turn -= 2

    def leave(self, job_id: str, state: JobState) -> None:
        job = self.jobs[job_id]
        job.state, job.token = state, None

    def put_back(self, job_id: str) -> None:
        cancelled = self.jobs[job_id].cancel_requested
        self.leave(job_id, JobState.CANCELLED if cancelled else JobState.QUEUED)

    def attempt_failed(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if job.attempts >= MAX_ATTEMPTS and not job.cancel_requested:
            self.leave(job_id, JobState.FAILED)
        else:
            self.put_back(job_id)


class QueueMachine(RuleBasedStateMachine):
    new_database: Callable[[], AbstractContextManager[str]]

    ids = Bundle("ids")
    claims = Bundle("claims")

    @initialize()
    def open(self) -> None:
        self.opened = ExitStack()
        self.engine = db.open_engine(self.opened.enter_context(self.new_database()))
        self.clock = TurnableClock()
        self.queue = Queue(
            self.engine,
            lease_seconds=LEASE_SECONDS,
            max_attempts=MAX_ATTEMPTS,
            max_waiting_per_person=MAX_WAITING,
            clock=self.clock,
        )
        self.model = Model()

    def teardown(self) -> None:
        self.engine.dispose()
        self.opened.close()

    @rule(target=ids, submitter=st.sampled_from("abc"), priority=st.sampled_from([0, 0, 0, 5]))
    def enqueue(self, submitter: str, priority: int) -> object:
        spec = {"prompt": "a circle", "weights": "sandbox"}
        mine = [i for i in self.model.waiting() if self.model.jobs[i].submitter == submitter]
        if len(mine) == MAX_WAITING:
            with pytest.raises(TooManyWaiting):
                self.queue.enqueue("numpy", spec, submitter=submitter, priority=priority)
            return multiple()
        job = self.queue.enqueue("numpy", spec, submitter=submitter, priority=priority)
        self.model.enqueue(job.id, submitter, priority)
        return job.id

    @rule(target=claims)
    def claim(self) -> object:
        expected = next(iter(self.model.waiting()), None)
        claim = self.queue.claim("executor")
        assert (claim.job.id if claim else None) == expected
        if claim is None:
            return multiple()
        self.model.start(claim.job.id, claim.token)
        return claim

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.model.jobs[job_id]
        if job.state is JobState.QUEUED:
            self.model.cancel_waiting(job_id)
        elif job.state is JobState.RUNNING:
            job.cancel_requested = True
        assert self.queue.cancel(job_id).state is job.state

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock.turn(seconds)
        self.model.now += seconds

    @rule()
    def expire(self) -> None:
        silent = [
            i
            for i, j in self.model.jobs.items()
            if j.state is JobState.RUNNING and j.expires < self.model.now
        ]
        for job_id in silent:
            self.model.attempt_failed(job_id)
        assert self.queue.expire() == len(silent)

    @rule(claim=claims)
    def heartbeat(self, claim: Claim) -> None:
        if self.holds(claim):
            job = self.model.jobs[claim.job.id]
            job.expires = self.model.now + LEASE_SECONDS
            assert self.queue.heartbeat(claim) is job.cancel_requested
        else:
            with pytest.raises(LeaseLost):
                self.queue.heartbeat(claim)

    @rule(claim=claims, step=st.integers(0, 9))
    def record_progress(self, claim: Claim, step: int) -> None:
        news = Progress(step, 9, "frame.jpg", [{"step": float(step)}], utc_now())
        if self.holds(claim):
            job = self.model.jobs[claim.job.id]
            job.expires = self.model.now + LEASE_SECONDS
            assert self.queue.record_progress(claim, news) is job.cancel_requested
            assert self.queue.get(claim.job.id).progress == news
        else:
            with pytest.raises(LeaseLost):
                self.queue.record_progress(claim, news)

    @rule(claim=consumes(claims), then_again=st.booleans())
    def finish(self, claim: Claim, then_again: bool) -> None:
        if self.holds(claim):
            self.queue.finish(claim, RESULT)
            self.model.leave(claim.job.id, JobState.SUCCEEDED)
            assert self.queue.get(claim.job.id).result == RESULT
        if then_again or not self.holds(claim):
            with pytest.raises(LeaseLost):
                self.queue.finish(claim, RESULT)

    @rule(claim=claims)
    def fail(self, claim: Claim) -> None:
        if self.holds(claim):
            self.queue.fail(claim, "It cannot be drawn.")
            self.model.leave(claim.job.id, JobState.FAILED)
        else:
            with pytest.raises(LeaseLost):
                self.queue.fail(claim, "It cannot be drawn.")

    @rule(claim=claims)
    def retry(self, claim: Claim) -> None:
        if self.holds(claim):
            self.queue.retry(claim, "It broke down.")
            self.model.attempt_failed(claim.job.id)
        else:
            with pytest.raises(LeaseLost):
                self.queue.retry(claim, "It broke down.")

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        if self.holds(claim):
            self.queue.release(claim)
            self.model.put_back(claim.job.id)
            if self.model.jobs[claim.job.id].state is JobState.QUEUED:
                self.model.jobs[claim.job.id].attempts -= 1
        else:
            with pytest.raises(LeaseLost):
                self.queue.release(claim)

    @rule(claim=claims)
    def acknowledge_cancel(self, claim: Claim) -> None:
        if self.holds(claim):
            self.queue.acknowledge_cancel(claim)
            self.model.leave(claim.job.id, JobState.CANCELLED)
        else:
            with pytest.raises(LeaseLost):
                self.queue.acknowledge_cancel(claim)

    @invariant()
    def every_job_is_as_the_model_says(self) -> None:
        for job_id, expected in self.model.jobs.items():
            job = self.queue.get(job_id)
            assert (job.state, job.attempts) == (expected.state, expected.attempts)
            assert job.cancel_requested == expected.cancel_requested
            assert (job.finished_at is not None) == job.state.is_final
            assert (job.result is not None) == (job.state is JobState.SUCCEEDED)

    @invariant()
    def every_waiting_job_knows_its_place(self) -> None:
        for ahead, job_id in enumerate(self.model.waiting()):
            assert self.queue.position(job_id).ahead == ahead

    def holds(self, claim: Claim) -> bool:
        return self.model.jobs[claim.job.id].token == claim.token


def test_the_queue_does_what_its_model_says(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    class Machine(QueueMachine):
        def new_database(self) -> AbstractContextManager[str]:
            return new_database(tmp_path_factory.mktemp("queue"))

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=20, stateful_step_count=30, deadline=None)
    )
