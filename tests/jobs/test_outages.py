"""The database goes away under working executors, and comes back: every job finishes, and once."""

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import db
from jobs.queue import Queue
from jobs.records import Counts, Job, JobState
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import executor, load, quick_settings, wait_until
from tests.postgresql import Cluster, running_cluster

JOBS = 12
AWAY = "is being restarted|No server answers|was cut"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """One that flushes its writes, for it is going to be killed."""
    with running_cluster(lasting=True) as cluster:
        yield cluster


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "executors.log"


def ask_for_many(queue: Queue) -> list[Job]:
    spec = {"prompt": "noise", "weights": "none", "size": 24, "steps": 10, "pause": 0.03}
    return queue.enqueue_all("numpy", [spec | {"seed": seed} for seed in range(JOBS)], submitter="ann")


def finished(log: Path) -> list[str]:
    return re.findall(r"job (\w+): finished", log.read_text())


def all_finish_once(queue: Queue, jobs: list[Job], log: Path) -> None:
    wait_until(lambda: queue.counts() == Counts(waiting=0, running=0), "all jobs have ended")
    ended = [queue.get(job.id) for job in jobs]
    assert Counter(job.state for job in ended) == {JobState.SUCCEEDED: JOBS}
    assert max(Counter(finished(log)).values()) == 1


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_postgresql_restarted_under_an_executor_costs_no_job(
    server: Cluster, tmp_path: Path, log: Path, how: str
) -> None:
    with server.database() as url:
        arguments = quick_settings(tmp_path, f"database_url={url}")
        queue = open_queue(load(arguments))
        jobs = ask_for_many(queue)
        with executor(arguments, log):
            wait_until(lambda: len(finished(log)) >= 3, "some jobs are finished")
            server.stop(how)
            wait_until(
                lambda: "being restarted" in log.read_text() or "No server" in log.read_text(), "it is told"
            )
            with pytest.raises(db.DatabaseError, match=AWAY):
                queue.counts()
            server.start()
            all_finish_once(queue, jobs, log)


def test_a_connection_cut_in_the_pool_is_replaced_unnoticed(server: Cluster) -> None:
    with server.database() as url:
        engine = db.open_engine(url)
        queue = Queue(engine, lease_seconds=10, max_attempts=3, max_waiting_per_person=9)
        assert queue.counts().waiting == 0
        server.stop()
        server.start()

        assert queue.enqueue("numpy", {"prompt": "a", "weights": "b"}, submitter="ann")
        assert queue.counts().waiting == 1
        engine.dispose()


def test_a_transaction_that_is_cut_leaves_nothing(server: Cluster) -> None:
    with server.database() as url:
        engine = db.open_engine(url)
        queue = Queue(engine, lease_seconds=10, max_attempts=3, max_waiting_per_person=9)

        with pytest.raises(db.DatabaseError, match=AWAY), db.writing(engine) as connection:  # noqa: PT012
            connection.exec_driver_sql("INSERT INTO switches VALUES ('paused', 'ann', now())")
            server.stop("immediate")
            server.start()
            connection.exec_driver_sql("INSERT INTO switches VALUES ('other', 'ann', now())")

        with db.reading(engine) as connection:
            assert connection.exec_driver_sql("SELECT * FROM switches").all() == []
        assert queue.counts().waiting == 0
        engine.dispose()


def test_an_executor_started_before_its_server_says_so(server: Cluster, tmp_path: Path, log: Path) -> None:
    with server.database() as url:
        arguments = quick_settings(tmp_path, f"database_url={url}")
        server.stop()
        try:
            with executor(arguments, log) as process:
                assert process.wait(60) != 0
        finally:
            server.start()

    assert "No server answers at" in log.read_text()


def test_sqlite_locked_for_seconds_by_another_program_costs_no_job(tmp_path: Path, log: Path) -> None:
    arguments = quick_settings(tmp_path)
    db.migrate(load(arguments).database_url)
    queue = open_queue(load(arguments))
    jobs = ask_for_many(queue)
    with executor(arguments, log):
        wait_until(lambda: len(finished(log)) >= 3, "some jobs are finished")
        with closing(sqlite3.connect(tmp_path / "studio.db", isolation_level=None, timeout=60)) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(3)  # longer than the lease
            other.execute("COMMIT")
        all_finish_once(queue, jobs, log)
