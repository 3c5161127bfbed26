from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

import db
from db.tables import attempts
from jobs.queue import Queue
from jobs.records import Job, Result
from store import ArtifactStore


class TurnableClock:
    """A time of day, and a stopwatch beside it, that stand still until they are turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.passed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def stopwatch(self) -> float:
        return self.passed

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.passed += seconds

    def jump(self, seconds: float) -> None:
        """Set the time of day forward or back, while no time passes."""
        self.now += timedelta(seconds=seconds)


def outcomes(engine: Engine, job_id: str) -> list[str]:
    """How the job's former attempts ended, the oldest first."""
    query = select(attempts.c.outcome).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    with db.reading(engine) as connection:
        return list(connection.execute(query).scalars())


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = db.open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine, clock: TurnableClock) -> Queue:
    return Queue(
        engine,
        lease_seconds=10,
        max_attempts=3,
        max_waiting_per_person=1000,
        clock=clock,
        stopwatch=clock.stopwatch,
    )


@pytest.fixture
def fall_silent(queue: Queue, clock: TurnableClock) -> Callable[[], int]:
    """Lets a lease's time pass without a renewal while the queue looks; says how many jobs it took back."""

    def fall_silent() -> int:
        taken = 0
        for _ in range(5):
            clock.turn(3)
            taken += queue.expire()
        return taken

    return fall_silent


@pytest.fixture
def ask(queue: Queue) -> Callable[..., Job]:
    def ask(submitter: str = "ann", prompt: str = "a red circle", priority: int = 0, seed: int = 1) -> Job:
        spec = {"prompt": prompt, "weights": "sandbox", "seed": seed}
        return queue.enqueue("numpy", spec, submitter=submitter, priority=priority)

    return ask


@pytest.fixture
def succeed(queue: Queue, ask: Callable[..., Job], store: ArtifactStore) -> Callable[..., Job]:
    """A job that has been through the queue and left its files."""

    def succeed(submitter: str = "ann", prompt: str = "a red circle", seed: int = 1) -> Job:
        ask(submitter, prompt, seed=seed)
        claim = queue.claim("executor")
        assert claim is not None
        image = store.publish(claim.job.id, "picture.png", b"png")
        animation = store.publish(claim.job.id, "animation.gif", b"gif")
        queue.finish(claim, Result(image, animation, 1.5, {"score": 0.5}, 64, 64))
        return queue.get(claim.job.id)

    return succeed
