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
from jobs.queue import LeaseLost, NotFailed, Queue, TooManyWaiting
from jobs.records import ANYTHING, Capabilities, Claim, JobState, Progress, Result
from tests.conftest import NewDatabase
from tests.jobs.conftest import TurnableClock, outcomes

LEASE_SECONDS = 10.0
LOOK_SECONDS = LEASE_SECONDS / 6
BLIND_SECONDS = LEASE_SECONDS / 2
KEEP_SECONDS = 20.0
MAX_ATTEMPTS = 2
MAX_WAITING = 4
RESULT = Result("picture.png", "animation.gif", 1.0, {}, 64, 64)


@dataclass
class ModelJob:
    number: int
    submitter: str
    priority: int
    weights: str
    turn: int
    state: JobState = JobState.QUEUED
    attempts: int = 0
    cancel_requested: bool = False
    token: str | None = None
    beats: int = 0
    passed_over: float | None = None
    history: list[str] = field(default_factory=list)


@dataclass
class Model:
    """What the queue promises, written without a thought of speed."""

    wall: float = 0.0
    passed: float = 0.0
    paused: bool = False
    looked: float = -1000.0
    seen: dict[str, tuple[object, float]] = field(default_factory=dict)
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    given: dict[tuple[int, str], int] = field(default_factory=dict)
    served: dict[int, int] = field(default_factory=dict)

    def waiting(self) -> list[str]:
        queued = [(j.number, i) for i, j in self.jobs.items() if j.state is JobState.QUEUED]
        return [i for _, i in sorted(queued, key=lambda pair: self.order(pair[1]))]

    def order(self, job_id: str) -> tuple[int, int, int]:
        job = self.jobs[job_id]
        return -job.priority, job.turn, job.number

    def enqueue(self, job_id: str, submitter: str, priority: int, weights: str) -> None:
        turn = self.give_turn(submitter, priority)
        self.jobs[job_id] = ModelJob(len(self.jobs), submitter, priority, weights, turn)

    def give_turn(self, submitter: str, priority: int) -> int:
        newcomer = self.served.get(priority, 0) + 1
        turn = max(self.given.get((priority, submitter), -9) + 2, newcomer)
        self.given[priority, submitter] = turn
        return turn

    def choose(self, able: Capabilities) -> str | None:
        """The next job of an executor; those before it are passed over."""
        if self.paused:
            return None
        fit = [i for i in self.waiting() if able.weights is None or self.jobs[i].weights in able.weights]
        chosen = self.loaded_one(fit, able.loaded) or next(iter(fit), None)
        passed = [] if chosen is None else fit[: fit.index(chosen)]
        for job in map(self.jobs.__getitem__, passed):
            if job.passed_over is None or job.passed_over > self.wall:
                job.passed_over = self.wall
        return chosen

    def loaded_one(self, fit: list[str], loaded: frozenset[str]) -> str | None:
        for job_id in fit:
            job = self.jobs[job_id]
            if job.priority != self.jobs[fit[0]].priority:
                return None
            if job.weights in loaded:
                return job_id
            if job.passed_over is not None and self.wall - job.passed_over > KEEP_SECONDS:
                return None
        return None

    def start(self, job_id: str, token: str) -> None:
        job = self.jobs[job_id]
        left_out = [j for j in self.line_of(job) if j.turn < job.turn]
        served = min((j.turn for j in left_out), default=job.turn)
        for other in left_out:
            other.turn += 2
        self.served[job.priority] = max(self.served.get(job.priority, 0), served)
        job.state, job.token, job.passed_over = JobState.RUNNING, token, None
        job.attempts += 1

    def line_of(self, job: ModelJob) -> list[ModelJob]:
        """The waiting jobs of the job's submitter at its priority."""
        whose = (job.submitter, job.priority)
        queued = [j for j in self.jobs.values() if j.state is JobState.QUEUED]
        return [j for j in queued if (j.submitter, j.priority) == whose]

    def ask_again(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.history.append("given up")
        job.state, job.attempts = JobState.QUEUED, 0
        job.turn = self.give_turn(job.submitter, job.priority)

    def look(self) -> list[str]:
        """Who has been silent for a lease's time, as far as somebody sees who looks now and then."""
        if self.passed - self.looked < LOOK_SECONDS:
            return []
        before = {} if self.passed - self.looked > BLIND_SECONDS else self.seen
        self.looked, self.seen = self.passed, {}
        for job_id, job in self.jobs.items():
            if job.state is JobState.RUNNING:
                sign = (job.token, job.beats)
                known = before.get(job_id)
                self.seen[job_id] = (sign, self.passed if known is None or known[0] != sign else known[1])
        return [i for i, (_, since) in self.seen.items() if self.passed - since >= LEASE_SECONDS]

    def cancel_waiting(self, job_id: str) -> None:
        left = self.jobs[job_id]
        left.state = JobState.CANCELLED
        self.given[left.priority, left.submitter] -= 2
        for job in self.line_of(left):
            if job.turn > left.turn:
                job.turn -= 2

    def leave(self, job_id: str, state: JobState) -> None:
        job = self.jobs[job_id]
        job.state, job.token = state, None

    def put_back(self, job_id: str, outcome: str) -> None:
        job = self.jobs[job_id]
        self.leave(job_id, JobState.CANCELLED if job.cancel_requested else JobState.QUEUED)
        job.history += [] if job.cancel_requested else [outcome]

    def attempt_failed(self, job_id: str, outcome: str) -> None:
        job = self.jobs[job_id]
        if job.attempts >= MAX_ATTEMPTS and not job.cancel_requested:
            self.leave(job_id, JobState.FAILED)
        else:
            self.put_back(job_id, outcome)


class QueueMachine(RuleBasedStateMachine):
    new_database: Callable[[], AbstractContextManager[str]]

    ids = Bundle("ids")
    claims = Bundle("claims")
    sets = st.frozensets(st.sampled_from("uvw"))
    able = st.builds(lambda there, loaded: Capabilities(there | loaded, loaded), sets, sets)

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
            keep_weights_seconds=KEEP_SECONDS,
            clock=self.clock,
            stopwatch=self.clock.stopwatch,
        )
        self.model = Model()

    def teardown(self) -> None:
        self.engine.dispose()
        self.opened.close()

    @rule(
        target=ids,
        submitter=st.sampled_from("abc"),
        priority=st.sampled_from([0, 0, 0, 5]),
        weights=st.sampled_from("uvw"),
    )
    def enqueue(self, submitter: str, priority: int, weights: str) -> object:
        spec = {"prompt": "a circle", "weights": weights}
        mine = [i for i in self.model.waiting() if self.model.jobs[i].submitter == submitter]
        if len(mine) == MAX_WAITING:
            with pytest.raises(TooManyWaiting):
                self.queue.enqueue("numpy", spec, submitter=submitter, priority=priority)
            return multiple()
        job = self.queue.enqueue("numpy", spec, submitter=submitter, priority=priority)
        self.model.enqueue(job.id, submitter, priority, weights)
        return job.id

    @rule(target=claims, able=st.just(ANYTHING) | able)
    def claim(self, able: Capabilities) -> object:
        expected = self.model.choose(able)
        claim = self.queue.claim("executor", able=able)
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

    @rule(job_id=ids)
    def ask_again(self, job_id: str) -> None:
        job = self.model.jobs[job_id]
        waiting = [j for j in map(self.model.jobs.get, self.model.waiting()) if j.submitter == job.submitter]
        if job.state is not JobState.FAILED:
            with pytest.raises(NotFailed):
                self.queue.again(job_id)
        elif len(waiting) == MAX_WAITING:
            with pytest.raises(TooManyWaiting):
                self.queue.again(job_id)
        else:
            self.model.ask_again(job_id)
            assert self.queue.again(job_id).error is None

    @rule()
    def pause_or_resume(self) -> None:
        self.model.paused = not self.model.paused
        (self.queue.pause if self.model.paused else self.queue.resume)("ann")
        assert (self.queue.paused() is not None) == self.model.paused

    @rule(seconds=st.sampled_from([1.0, 6.0]), looking=st.booleans())
    def wait(self, seconds: float, looking: bool) -> None:
        self.turn(seconds)
        if looking:
            self.expire()

    @rule()
    def fall_silent(self) -> None:
        """A lease's time goes by, watched."""
        for _ in range(5):
            self.turn(LEASE_SECONDS / 4)
            self.expire()

    @rule(seconds=st.floats(-1e7, 1e7))
    def jump(self, seconds: float) -> None:
        """Somebody sets the clock: the invariants find everything as it was."""
        seconds = round(seconds)
        self.clock.jump(seconds)
        self.model.wall += seconds

    @rule()
    def expire(self) -> None:
        silent = self.model.look()
        for job_id in silent:
            self.model.attempt_failed(job_id, "lost")
        assert self.queue.expire() == len(silent)

    @rule(claim=claims)
    def heartbeat(self, claim: Claim) -> None:
        if self.holds(claim):
            job = self.model.jobs[claim.job.id]
            job.beats += 1
            assert self.queue.heartbeat(claim) is job.cancel_requested
        else:
            with pytest.raises(LeaseLost):
                self.queue.heartbeat(claim)

    @rule(claim=claims, step=st.integers(0, 9))
    def record_progress(self, claim: Claim, step: int) -> None:
        news = Progress(step, 9, "frame.jpg", [{"step": float(step)}], utc_now())
        if self.holds(claim):
            job = self.model.jobs[claim.job.id]
            job.beats += 1
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
            self.model.attempt_failed(claim.job.id, "failed")
        else:
            with pytest.raises(LeaseLost):
                self.queue.retry(claim, "It broke down.")

    @rule(claim=claims)
    def release(self, claim: Claim) -> None:
        if self.holds(claim):
            self.queue.release(claim)
            self.model.put_back(claim.job.id, "handed back")
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
            assert outcomes(self.engine, job_id) == expected.history

    @invariant()
    def every_waiting_job_knows_its_place(self) -> None:
        for ahead, job_id in enumerate(self.model.waiting()):
            assert self.queue.position(job_id).ahead == ahead

    def turn(self, seconds: float) -> None:
        self.clock.turn(seconds)
        self.model.wall += seconds
        self.model.passed += seconds

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
