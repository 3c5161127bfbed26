from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, insert

from db import writing
from db.tables import attempts
from jobs.chronicle import Chronicle, Event, EventKind
from jobs.queue import JobNotFound, Queue
from jobs.records import Job
from tests.jobs.conftest import TurnableClock

Ask = Callable[..., Job]


@pytest.fixture
def chronicle(engine: Engine) -> Chronicle:
    return Chronicle(engine)


@pytest.fixture
def tried(engine: Engine, clock: TurnableClock) -> Callable[..., None]:
    """Writes down an attempt that started now and took some seconds, and turns the clock to its end."""

    def tried(job: Job, executor: str, outcome: str, seconds: float, reason: str | None = None) -> None:
        row = {"job_id": job.id, "executor": executor, "outcome": outcome, "reason": reason}
        times = {"started_at": clock(), "ended_at": clock() + timedelta(seconds=seconds)}
        with writing(engine) as connection:
            connection.execute(insert(attempts), row | times)
        clock.turn(seconds)

    return tried


def test_a_job_that_waits_was_asked_for(chronicle: Chronicle, ask: Ask, clock: TurnableClock) -> None:
    assert chronicle.of(ask().id) == [Event(EventKind.ASKED, clock())]


def test_the_whole_life_is_told_in_order_with_times_executors_and_reasons(
    chronicle: Chronicle, queue: Queue, ask: Ask, tried: Callable[..., None], clock: TurnableClock
) -> None:
    start = clock()
    job = ask()
    clock.turn(2)
    tried(job, "one", "lost", 30)
    clock.turn(1)
    tried(job, "two", "handed back", 5)
    tried(job, "three", "failed", 4, "KeyError")
    tried(job, "four", "given up", 3, "It broke down.")
    clock.turn(60)
    claim = queue.claim("five")
    assert claim is not None
    clock.turn(9)
    queue.fail(claim, "There is not enough memory.")

    def at(seconds: float) -> object:
        return start + timedelta(seconds=seconds)

    assert chronicle.of(job.id) == [
        Event(EventKind.ASKED, at(0)),
        Event(EventKind.STARTED, at(2), "one", None, 2),
        Event(EventKind.LOST, at(32), "one", None, 30),
        Event(EventKind.STARTED, at(33), "two", None, 1),
        Event(EventKind.HANDED_BACK, at(38), "two", None, 5),
        Event(EventKind.STARTED, at(38), "three", None, 0),
        Event(EventKind.STUMBLED, at(42), "three", "KeyError", 4),
        Event(EventKind.STARTED, at(42), "four", None, 0),
        Event(EventKind.FAILED, at(45), "four", "It broke down.", 3),
        Event(EventKind.ASKED_AGAIN, None),
        Event(EventKind.STARTED, at(105), "five", None, None),
        Event(EventKind.FAILED, at(114), "five", "There is not enough memory.", 9),
    ]


def test_a_waiting_job_that_is_cancelled_was_never_started(
    chronicle: Chronicle, queue: Queue, ask: Ask
) -> None:
    job = ask()
    queue.cancel(job.id)

    assert [event.kind for event in chronicle.of(job.id)] == [EventKind.ASKED, EventKind.CANCELLED]


def test_a_running_job_that_is_cancelled_was_asked_to_stop(
    chronicle: Chronicle, queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    job = ask()
    claim = queue.claim("executor")
    assert claim is not None
    queue.cancel(job.id)
    clock.turn(3)
    queue.acknowledge_cancel(claim)

    *_, stop, end = chronicle.of(job.id)
    assert stop == Event(EventKind.CANCEL_ASKED, None)
    assert end == Event(EventKind.CANCELLED, clock(), "executor", None, 3)


def test_a_clock_that_was_set_back_makes_no_time_negative(
    chronicle: Chronicle, queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    job = ask()
    clock.turn(-3600)
    assert queue.claim("executor") is not None

    assert chronicle.of(job.id)[-1].seconds == 0


def test_there_is_no_history_of_a_job_that_is_not_there(chronicle: Chronicle) -> None:
    with pytest.raises(JobNotFound):
        chronicle.of("nothing")
