"""The figures tell what happened, whatever was deleted since, and cost little however much that is."""

import random
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, event, insert

from db import writing
from db.tables import attempts, executors, jobs, results
from jobs.executors import Executors
from jobs.figures import Watch
from jobs.gallery import Gallery
from jobs.queue import Queue
from jobs.records import Job, JobState, Progress, Result, Verdict
from jobs.votes import Votes
from store import ArtifactStore
from tests.conftest import on_sqlite
from tests.jobs.conftest import TurnableClock

Ask = Callable[..., Job]


@pytest.fixture
def watch(engine: Engine, clock: TurnableClock) -> Watch:
    return Watch(engine, clock=clock)


def told(watch: Watch, what: str) -> dict[str, int]:
    return {name.kind: count for name, count in watch.figures().totals.items() if name.what == what}


def test_jobs_are_counted_by_state_and_the_oldest_are_told(
    watch: Watch, queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    ask("ann", priority=1)
    clock.turn(5)
    ask("bob")
    ask("cat")
    clock.turn(10)
    assert queue.claim("executor") is not None
    clock.turn(20)

    figures = watch.figures()

    assert figures.jobs == {
        JobState.QUEUED: 2,
        JobState.RUNNING: 1,
        JobState.SUCCEEDED: 0,
        JobState.FAILED: 0,
        JobState.CANCELLED: 0,
    }
    assert figures.oldest == {JobState.QUEUED: 30, JobState.RUNNING: 20}


def test_an_empty_studio_has_figures_too(watch: Watch) -> None:
    figures = watch.figures()

    assert sum(figures.jobs.values()) == sum(figures.totals.values()) == 0
    assert figures.waiting == figures.step == {}


@pytest.mark.parametrize(
    ("sentence", "cause"),
    [
        ("There is not enough memory for this picture: make it smaller.", "memory"),
        ("The generator broke down as often as is allowed (OutOfMemoryError): see the log.", "memory"),
        ("The generator broke down as often as is allowed (KeyError: 'x'): see the log.", "generator"),
        ("Every executor that tried it stopped without a word, as often as is allowed.", "abandoned"),
        ("It was set aside because executors stopped while drawing it, in 3 of 3 attempts.", "abandoned"),
        ("The weights 'imagenet' are not installed: run python -m weights download imagenet.", "weights"),
        ("'steps': input should be less than or equal to 2000, but it was 9999.", "parameters"),
        ("The picture 0123… is not there any more: hand it in again.", "parameters"),
        ("Nobody knows.", "other"),
    ],
)
def test_a_failure_is_counted_by_its_cause(
    watch: Watch, queue: Queue, ask: Ask, sentence: str, cause: str
) -> None:
    ask()
    claim = queue.claim("executor")
    assert claim is not None
    queue.fail(claim, sentence)

    assert told(watch, "failures") == {cause: 1}
    assert told(watch, "finished") == {"failed": 1}


def test_claims_are_counted_by_how_their_attempts_ended(
    watch: Watch, queue: Queue, engine: Engine, ask: Ask, succeed: Ask, clock: TurnableClock
) -> None:
    done, never_started, running = succeed(), ask(), ask("bob")
    queue.cancel(never_started.id)
    assert queue.claim("executor") is not None
    then = clock()
    with writing(engine) as connection:
        for outcome in ("lost", "handed back", "failed", "given up", "lost"):
            row = {"job_id": running.id, "executor": "e", "started_at": then, "ended_at": then}
            reason = "There is not enough memory." if outcome == "given up" else None
            connection.execute(insert(attempts), {**row, "outcome": outcome, "reason": reason})

    assert told(watch, "submitted") == {"": 3}
    assert told(watch, "attempts") == {"succeeded": 1, "lost": 2, "handed back": 1, "failed": 2}
    assert told(watch, "claims") == {"": 7}
    assert told(watch, "finished") == {"succeeded": 1, "cancelled": 1, "failed": 1}
    assert told(watch, "failures") == {"memory": 1}
    assert done.state is JobState.SUCCEEDED


def test_no_count_falls_when_a_result_is_deleted(
    watch: Watch, engine: Engine, store: ArtifactStore, succeed: Ask
) -> None:
    first, second, third = succeed(seed=1), succeed(seed=2), succeed(seed=3)
    votes = Votes(engine)
    votes.cast("ann", first.id, second.id, Verdict.LEFT)
    votes.cast("ann", second.id, third.id, Verdict.LEFT)
    before = watch.figures().totals
    gallery = Gallery(engine, store)

    gallery.delete(first.id, "ann")
    gallery.delete(second.id, "ann")

    assert watch.figures().totals == before
    assert watch.figures().jobs[JobState.SUCCEEDED] == 1


def test_waiting_and_drawing_are_told_of_the_last_hour(
    watch: Watch, queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    for waited, seconds in ((1, 1000.0), (3, 10.0), (7, 20.0)):
        ask()
        clock.turn(waited)
        claim = queue.claim("executor")
        assert claim is not None
        queue.record_progress(claim, Progress(10, 10, None, [], clock()))
        queue.finish(claim, Result("i", "a", seconds, {}, 8, 8))
        clock.turn(3600 if seconds == 1000.0 else 0)

    figures = watch.figures()

    assert figures.waiting == {0.5: 3, 0.9: 7, 0.99: 7}
    assert figures.drawing == {"numpy": {0.5: 10, 0.9: 20, 0.99: 20}}
    assert figures.step == {"numpy": {0.5: 1, 0.9: 2, 0.99: 2}}


def test_the_memory_of_every_executor_is_told(watch: Watch, engine: Engine, clock: TurnableClock) -> None:
    Executors(engine, alive_seconds=10, clock=clock).register("one", device="cpu", threads=1)
    with writing(engine) as connection:
        connection.execute(executors.update().values(memory=5))

    (memory,) = watch.figures().memory

    assert (memory.executor, memory.device, memory.free) == ("one", "cpu", 5)
    assert memory.resident > 10**6


@on_sqlite
def test_a_look_at_many_jobs_scans_no_table(watch: Watch, engine: Engine, clock: TurnableClock) -> None:
    with writing(engine) as connection:
        _fill(connection, clock, 2000)
        connection.exec_driver_sql("ANALYZE")
    statements: list[tuple[str, object]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, sql: str, values: object, *_: object) -> None:
        statements.append((sql, values))

    assert sum(watch.figures().jobs.values()) == 2000
    event.remove(engine, "before_cursor_execute", note)

    with engine.connect() as connection:
        plans = [
            step.detail
            for sql, values in statements
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()
        ]
    assert len(statements) > 10
    assert [plan for plan in plans if re.match(r"SCAN (jobs|results|progress)(?! USING)", plan)] == []
    assert not any("USING INDEX sqlite_autoindex_jobs" in plan for plan in plans)


def _fill(connection: Connection, clock: TurnableClock, count: int) -> None:
    chance = random.Random(1)
    states = ["queued", "succeeded", "succeeded", "succeeded", "failed", "cancelled"]
    rows = [
        {
            "id": f"{number:032x}",
            **{"generator": "numpy", "weights": "none", "prompt": "p", "parameters": {}, "submitter": "ann"},
            **{"state": chance.choice(states), "priority": 0, "turn": number, "attempts": 1},
            **{"max_attempts": 3, "created_at": clock(), "cancel_requested": False, "untidy": False},
        }
        for number in range(count)
    ]
    ended = {"started_at": clock(), "finished_at": clock() - timedelta(days=1)}
    queued = {"started_at": None, "finished_at": None}
    connection.execute(insert(jobs), [row | (queued if row["state"] == "queued" else ended) for row in rows])
    kept = {"image": "i", "animation": "a", "seconds": 1.0, "numbers": {}, "width": 8, "height": 8}
    done = [{"job_id": row["id"], **kept} for row in rows if row["state"] == "succeeded"]
    connection.execute(insert(results), done)
