import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine

import db
from jobs.executors import Executors
from jobs.queue import Queue
from jobs.records import Job
from jobs.wakeup import Wakeup
from tests.postgresql import Cluster

Ask = Callable[..., Job]

FOR_EVER = 200.0
"""Seconds; a test that waited so long would have been given up."""


class Sleeper:
    """Waits in another thread."""

    def __init__(self, wakeup: Wakeup) -> None:
        self.stop = threading.Event()
        self._thread = threading.Thread(target=wakeup.wait, args=[self.stop, FOR_EVER], daemon=True)
        self._thread.start()

    def is_awake_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def wakes(self) -> bool:
        return self.is_awake_within(60)


@pytest.fixture
def wakeup(database_url: str) -> Iterator[Wakeup]:
    """Has been waited on once, and so listens."""
    engine = db.open_engine(database_url)
    with closing(Wakeup(engine)) as wakeup:
        wakeup.wait(threading.Event(), FOR_EVER)
        yield wakeup
    engine.dispose()


@pytest.fixture
def sleeper(wakeup: Wakeup) -> Iterator[Sleeper]:
    sleeper = Sleeper(wakeup)
    yield sleeper
    sleeper.stop.set()
    assert sleeper.wakes()


def test_a_new_job_wakes_an_idle_executor(sleeper: Sleeper, ask: Ask) -> None:
    ask()

    assert sleeper.wakes()


def test_a_job_that_came_before_the_wait_is_not_missed(wakeup: Wakeup, ask: Ask) -> None:
    """It came after the executor had looked, and before it went to sleep."""
    ask()

    assert Sleeper(wakeup).wakes()


@pytest.mark.parametrize("how", ["release", "retry", "expire"])
def test_a_job_that_goes_back_wakes_an_idle_executor(
    engine: Engine, queue: Queue, ask: Ask, fall_silent: Callable[[], int], how: str
) -> None:
    ask()
    claim = queue.claim("executor")
    assert claim is not None
    with closing(Wakeup(engine)) as wakeup:
        wakeup.wait(threading.Event(), FOR_EVER)
        sleeper = Sleeper(wakeup)
        {
            "release": lambda: queue.release(claim),
            "retry": lambda: queue.retry(claim, "It broke down."),
            "expire": fall_silent,
        }[how]()
        assert sleeper.wakes()


def test_what_gives_no_work_wakes_nobody(sleeper: Sleeper, engine: Engine) -> None:
    executors = Executors(engine, alive_seconds=10)
    executors.register("one", device="cpu", threads=1)
    for _ in range(10):
        executors.beat("one")

    assert not sleeper.is_awake_within(0.3)


def test_an_idle_executor_stops_at_once(sleeper: Sleeper) -> None:
    sleeper.stop.set()

    assert sleeper.wakes()


def test_whoever_nothing_wakes_looks_after_a_while(wakeup: Wakeup) -> None:
    wakeup.wait(threading.Event(), 0.1)


def test_waiting_costs_next_to_nothing(sleeper: Sleeper) -> None:
    """It takes a small part of the processor's time, whatever else that does."""
    before = time.process_time()
    assert not sleeper.is_awake_within(1)

    assert time.process_time() - before < 0.1


def test_a_connection_that_is_cut_is_made_anew(cluster: Cluster) -> None:
    with cluster.database() as url:
        engine = db.open_engine(url)
        queue = Queue(engine, lease_seconds=10, max_attempts=3, max_waiting_per_person=9)
        with closing(Wakeup(engine)) as wakeup:
            wakeup.wait(threading.Event(), FOR_EVER)
            cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()",
                engine.url.database or "",
            )
            wakeup.wait(threading.Event(), 0.1)  # it is noticed
            wakeup.wait(threading.Event(), FOR_EVER)  # listens again, and so returns at once
            sleeper = Sleeper(wakeup)
            queue.enqueue("numpy", {"prompt": "a circle", "weights": "sandbox"}, submitter="ann")
            assert sleeper.wakes()
        engine.dispose()
