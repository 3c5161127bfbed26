"""Many at once: nobody gets what another has, nobody waits for ever, and turns and limits hold."""

import itertools
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text, update

import db
from db import tables, writing
from jobs.choosing import next_for
from jobs.figures import Watch
from jobs.gallery import Gallery
from jobs.queue import JobNotFound, Queue, TooManyWaiting
from jobs.records import ANYTHING, Job, JobState
from store import ArtifactStore
from tests.jobs.processes import wait_until

Ask = Callable[..., Job]

SPEC = {"prompt": "a circle", "weights": "sandbox"}


def take_all(url: str, name: str) -> list[str]:
    """Claims until nothing waits, as an executor process does."""
    queue = open_queue(url)
    claims = iter(lambda: queue.claim(name), None)
    return [claim.job.id for claim in claims]


def open_queue(url: str, limit: int = 1000) -> Queue:
    return Queue(db.open_engine(url), lease_seconds=60, max_attempts=3, max_waiting_per_person=limit)


def test_processes_that_claim_together_take_every_job_once(database_url: str, queue: Queue) -> None:
    asked = [queue.enqueue_all("numpy", [SPEC] * 25, submitter=f"person-{n}") for n in range(8)]

    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        taken = list(processes.map(take_all, [database_url] * 3, "abc"))

    counted = Counter(itertools.chain.from_iterable(taken))
    assert set(counted) == {job.id for jobs in asked for job in jobs}
    assert max(counted.values()) == 1


def test_claims_in_the_midst_of_everything_else_miss_nothing(database_url: str, queue: Queue) -> None:
    """One person's jobs are asked for, cancelled, taken out of turn and claimed, all at the same time."""
    waiting = queue.enqueue_all("numpy", [SPEC] * 80, submitter="ann")
    busy = open_queue(database_url)
    claimed: list[str] = []

    def claim(_: int) -> None:
        taken = busy.claim("executor")
        if taken is not None:
            claimed.append(taken.job.id)

    def claim_out_of_turn(n: int) -> None:
        taken = busy.claim("executor", job_id=waiting[n].id)
        if taken is not None:
            claimed.append(taken.job.id)

    work = [
        *((claim, n) for n in range(40)),
        *((claim_out_of_turn, n) for n in range(79, 39, -2)),
        *((lambda n: busy.cancel(waiting[n].id), n) for n in range(78, 20, -3)),
        *((lambda n: busy.cancel(waiting[n].id), n) for n in range(21, 79, 3)),
        *((lambda _: busy.enqueue("numpy", SPEC, submitter="ann"), n) for n in range(20)),
    ]
    with ThreadPoolExecutor(8) as threads:
        started = [threads.submit(what, n) for what, n in work[::2] + work[1::2]]
    for each in started:
        each.result()

    claimed += take_all(database_url, "last")
    ends = Counter(job.state for job in queue.search("ann", per_page=1000).items)
    assert len(claimed) == len(set(claimed)) == ends[JobState.RUNNING]
    assert ends[JobState.QUEUED] == 0
    assert sum(ends.values()) == 100


def test_a_result_that_many_delete_at_the_same_time_is_counted_once(
    engine: Engine, store: ArtifactStore, succeed: Ask
) -> None:
    job, gallery, watch = succeed(), Gallery(engine, store), Watch(engine)
    before = watch.figures().totals

    with ThreadPoolExecutor(6) as threads:
        deleting = [threads.submit(gallery.delete, job.id, "ann") for _ in range(6)]

    assert Counter(type(each.exception()) for each in deleting) == {type(None): 1, JobNotFound: 5}
    assert watch.figures().totals == before


def test_turns_given_at_the_same_time_differ(database_url: str, engine: Engine) -> None:
    busy = open_queue(database_url)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: busy.enqueue("numpy", SPEC, submitter="ab"[n % 2]), range(60)))

    with db.reading(engine) as connection:
        rows = connection.execute(select(tables.jobs.c.submitter, tables.jobs.c.turn)).all()
    assert Counter(rows) == Counter(itertools.product("ab", range(1, 60, 2)))


def test_those_who_ask_at_the_same_time_get_no_more_than_allowed(database_url: str, queue: Queue) -> None:
    strict = open_queue(database_url, limit=5)

    def ask(_: int) -> bool:
        try:
            strict.enqueue("numpy", SPEC, submitter="ann")
        except TooManyWaiting:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        accepted = list(threads.map(ask, range(40)))

    assert sum(accepted) == queue.counts().waiting == 5


def test_a_job_that_is_cancelled_as_it_is_claimed_is_one_or_the_other(
    database_url: str, queue: Queue, ask: Ask
) -> None:
    busy = open_queue(database_url)
    for _ in range(20):
        job = ask()
        with ThreadPoolExecutor(2) as threads:
            claim, seen = threads.submit(busy.claim, "executor"), threads.submit(busy.cancel, job.id)
        if claim.result() is None:
            assert (seen.result().state, queue.get(job.id).state) == (JobState.CANCELLED,) * 2
        else:
            assert queue.get(job.id).state is JobState.RUNNING
            assert busy.heartbeat(claim.result()), "the executor is told"
            busy.acknowledge_cancel(claim.result())


def test_looking_for_a_job_that_is_gone_locks_nothing(queue: Queue) -> None:
    with pytest.raises(JobNotFound):
        queue.cancel("nowhere")
    assert queue.claim("executor", job_id="nowhere") is None


def test_finding_the_next_job_reads_no_more_when_100000_wait(engine: Engine, ask: Ask) -> None:
    """The next job is the first entry of an index in the right order, so that nothing is sorted."""
    sql = next_for(ANYTHING).compile(engine, compile_kwargs={"literal_binds": True})
    on_sqlite = engine.dialect.name == "sqlite"
    for person in range(100):
        ask(f"{person}")
    with writing(engine) as connection:
        assert doubled(connection, times=10) > 100_000
        if not on_sqlite:
            connection.exec_driver_sql("ANALYZE jobs")
        plan = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN' if on_sqlite else '(ANALYZE)'} {sql}")
        steps = "\n".join(row[-1] for row in plan)

    if on_sqlite:
        assert steps.startswith("SCAN jobs USING INDEX jobs_waiting")
        assert "ORDER BY" not in steps
    else:
        assert re.search(r"Index Scan using jobs_waiting on jobs .*actual.* rows=1 ", steps), steps
        assert "Sort" not in steps


def doubled(connection: Connection, times: int) -> int:
    """Ask for everything again, so many times; returns how many jobs wait then."""
    jobs = tables.jobs
    same = [column for column in jobs.c if column.name not in {"number", "id", "turn"}]
    for time in range(times):
        twins = select(jobs.c.id + str(time), jobs.c.turn + 2**time, *same)
        connection.execute(insert(jobs).from_select(["id", "turn", *same], twins))
    return connection.execute(select(func.count()).select_from(jobs).where(tables.WAITING)).scalar_one()


def test_a_job_that_is_cancelled_while_it_is_handed_back_is_cancelled(
    engine: Engine, queue: Queue, ask: Ask
) -> None:
    """Whoever comes second sees what the first has done."""
    for _ in range(20):
        job = ask()
        claim = queue.claim("executor")
        assert claim is not None
        with ThreadPoolExecutor(2) as both:
            cancelled, released = both.submit(queue.cancel, job.id), both.submit(queue.release, claim)
            assert cancelled.result().state is JobState.CANCELLED or cancelled.result().cancel_requested
            released.result()
        assert queue.get(job.id).state is JobState.CANCELLED


def test_cancelling_waits_for_whoever_has_the_job_in_hand(engine: Engine, queue: Queue, ask: Ask) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    job = ask()
    queue.claim("executor")
    mine = tables.jobs.c.id == job.id
    with ThreadPoolExecutor() as thread:
        with writing(engine) as connection:
            handed_back = {"state": "queued", "token": None, "executor": None, "started_at": None}
            connection.execute(update(tables.jobs).where(mine).values(handed_back))
            cancelled = thread.submit(queue.cancel, job.id)
            wait_until(lambda: _waits_for_a_lock(engine), "the canceller waits")
        assert cancelled.result().state is JobState.CANCELLED


def _waits_for_a_lock(engine: Engine) -> bool:
    with db.reading(engine) as connection:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return connection.execute(waiting).scalar_one() > 0
