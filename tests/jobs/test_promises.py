"""What the queue promises, a test a promise. That a result is published once stands in ``test_kill.py``."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

import db
from db.tables import attempts
from jobs.executors import Executors
from jobs.queue import LeaseLost, NotFailed, Queue
from jobs.records import Claim, Counts, Job, JobState, Progress, Result
from settings import ROOT
from tests.jobs.conftest import TurnableClock, outcomes
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import executor, load, quick_settings, wait_until

Ask = Callable[..., Job]
Silence = Callable[[], int]
SPEC = {"prompt": "a circle", "weights": "sandbox", "seed": 1}
RESULT = Result("a.png", "a.gif", 1.0, {}, 1, 1)
HAND_IN_FOR_EVER = """
import sys, db
from jobs.queue import Queue
queue = Queue(db.open_engine(sys.argv[1]), lease_seconds=9, max_attempts=3, max_waiting_per_person=10**6)
spec = {"prompt": "a circle", "weights": "sandbox"}
while True:
    print(queue.enqueue("numpy", spec, submitter="ann").id, flush=True)
"""


def claimed(queue: Queue) -> Claim:
    claim = queue.claim("executor")
    assert claim is not None
    return claim


def states(queue: Queue, jobs: list[Job]) -> list[JobState]:
    return [queue.get(job.id).state for job in jobs]


def test_a_job_handed_in_is_never_lost(queue: Queue, database_url: str) -> None:
    """Whoever has been told that a job is accepted finds it, though the one who told is killed."""
    hand_in = [sys.executable, "-c", HAND_IN_FOR_EVER, database_url]
    with subprocess.Popen(hand_in, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().split("\n")[:-1]

    found = {job.id for job in queue.search(per_page=10_000).items}
    assert set(told) <= found
    assert len(found) <= len(told) + 1, "one may have been accepted that nobody was told of"


def test_a_cancelled_job_never_comes_back(queue: Queue, ask: Ask, fall_silent: Silence) -> None:
    waiting, released, silent, stumbled = (ask() for _ in range(4))
    queue.cancel(waiting.id)
    claims = {claim.job.id: claim for claim in (claimed(queue) for _ in range(3))}
    for job in (released, silent, stumbled):
        queue.cancel(job.id)

    queue.release(claims[released.id])
    queue.retry(claims[stumbled.id], "It broke down.")
    fall_silent()

    with pytest.raises(NotFailed, match="Only a failed job can be asked for again"):
        queue.again(waiting.id)

    states = {queue.get(job.id).state for job in (waiting, released, silent, stumbled)}
    assert states == {JobState.CANCELLED}
    assert queue.claim("executor") is None


def test_cancelling_one_job_touches_no_other(queue: Queue, ask: Ask) -> None:
    running, other = ask("ann"), ask("bob")
    claims = [claimed(queue), claimed(queue)]
    first, second, third, theirs = ask("ann"), ask("ann"), ask("ann"), ask("bob")

    queue.cancel(running.id)
    queue.cancel(second.id)

    assert [queue.heartbeat(claim) for claim in claims] == [True, False], "only one is told to stop"
    assert states(queue, [running, other, first, second, third, theirs]) == [
        *(JobState.RUNNING, JobState.RUNNING),
        *(JobState.QUEUED, JobState.CANCELLED, JobState.QUEUED, JobState.QUEUED),
    ]
    assert [claimed(queue).job.id for _ in range(3)] == [first.id, theirs.id, third.id]


def test_a_late_executor_cannot_write(
    queue: Queue, ask: Ask, clock: TurnableClock, fall_silent: Silence
) -> None:
    job = ask()
    late = claimed(queue)
    fall_silent()
    current = claimed(queue)

    for late_write in (
        lambda: queue.heartbeat(late),
        lambda: queue.record_progress(late, Progress(1, 9, None, [], clock.now)),
        lambda: queue.record_checkpoint(late, "checkpoint"),
        lambda: queue.finish(late, Result("a", "b", 1.0, {}, 1, 1)),
        lambda: queue.fail(late, "It failed."),
        lambda: queue.retry(late, "It failed."),
        lambda: queue.release(late),
        lambda: queue.acknowledge_cancel(late),
    ):
        before = queue.get(job.id)
        with pytest.raises(LeaseLost):
            late_write()
        assert queue.get(job.id) == before
    assert queue.heartbeat(current) is False


def test_a_job_that_kills_its_executor_three_times_is_set_aside_and_does_not_block_the_queue(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    arguments = quick_settings(tmp_path, f"database_url={database_url}", "queue.max_attempts=3")
    queue = open_queue(load(arguments))
    spec = {"prompt": "noise", "weights": "none", "seed": 1, "size": 24, "steps": 4, "pause": 0.0}
    deadly = queue.enqueue("numpy", spec | {"trouble": "deadly"}, submitter="ann")
    behind = queue.enqueue("numpy", spec, submitter="ann")

    for _ in range(3):
        with executor(arguments, tmp_path / "executors.log") as process:
            assert process.wait(timeout=60) == -signal.SIGKILL
    with executor(arguments, tmp_path / "executors.log"):
        wait_until(lambda: queue.counts() == Counts(waiting=0, running=0), "both jobs have ended")
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    assert states(queue, [deadly, behind]) == [JobState.FAILED, JobState.SUCCEEDED]
    reason = queue.get(deadly.id).error or ""
    assert "It was set aside because executors stopped while drawing it, in 3 of 3 attempts" in reason
    assert outcomes(engine, deadly.id) == ["lost", "lost"], "the third stands with the job"
    assert list((tmp_path / "artifacts" / "jobs" / deadly.id).rglob("*.*")) == []


def test_a_paused_queue_starts_nothing_and_loses_nothing(
    queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    jobs = [ask(), ask(), ask()]
    running = claimed(queue)

    queue.pause("an admin")

    assert queue.claim("executor") is None
    assert queue.claim("executor", job_id=jobs[2].id) is None
    jobs.append(ask("bob"))
    assert queue.counts() == Counts(waiting=3, running=1, paused=True)
    pause = queue.paused()
    assert pause is not None
    assert (pause.by, pause.at) == ("an admin", clock.now)
    assert queue.heartbeat(running) is False
    queue.finish(running, RESULT)
    queue.resume("an admin")
    assert queue.paused() is None
    assert [claimed(queue).job.id for _ in range(3)] == [jobs[3].id, jobs[1].id, jobs[2].id]


def test_a_retried_job_keeps_its_history(
    queue: Queue, engine: Engine, ask: Ask, clock: TurnableClock, fall_silent: Silence
) -> None:
    job, begun = ask(), clock.now
    queue.release(claimed(queue))
    queue.claim("another executor")
    fall_silent()
    queue.retry(claimed(queue), "It broke down.")
    queue.fail(claimed(queue), "It cannot be drawn.")
    clock.turn(60)

    again = queue.again(job.id)

    assert (again.state, again.attempts, again.error) == (JobState.QUEUED, 0, None)
    assert (again.finished_at, again.started_at, again.progress) == (None, None, None)
    with db.reading(engine) as connection:
        kept = connection.execute(select(attempts).order_by(attempts.c.number)).all()
    assert [(row.executor, row.outcome, row.reason) for row in kept] == [
        ("executor", "handed back", None),
        ("another executor", "lost", None),
        ("executor", "failed", "It broke down."),
        ("executor", "given up", "It cannot be drawn."),
    ]
    assert {row.job_id for row in kept} == {job.id}
    assert [(row.started_at - begun).total_seconds() for row in kept] == [0, 0, 15, 15]
    assert [(row.ended_at - begun).total_seconds() for row in kept] == [0, 15, 15, 15]
    queue.finish(claimed(queue), RESULT)
    assert len(outcomes(engine, job.id)) == 4


def test_nobody_starves(queue: Queue, ask: Ask) -> None:
    """With one submitter holding 1,000 jobs, another's first job starts next."""
    queue.enqueue_all("numpy", [SPEC] * 1000, submitter="ann")
    for _ in range(5):
        assert claimed(queue).job.submitter == "ann"

    ask("bob")

    assert claimed(queue).job.submitter == "bob"


def test_clocks_may_jump(queue: Queue, engine: Engine, ask: Ask, clock: TurnableClock) -> None:
    """A clock set forward takes nobody's job, one set back keeps none from being taken back."""
    executors = Executors(engine, alive_seconds=10, clock=clock, stopwatch=clock.stopwatch)
    executors.register("idle", device="cpu", threads=1)
    assert len(executors.alive()) == 1
    jobs = [ask() for _ in range(3)]
    kept, lost = claimed(queue), claimed(queue)
    for hours in (-5, 24 * 400, -24 * 800):
        clock.jump(3600 * hours)
        for _ in range(2):
            clock.turn(2)
            queue.heartbeat(kept)
            queue.heartbeat(lost)
            assert queue.expire() == 0
            executors.beat("idle")
            assert len(executors.alive()) == 1, "it reported a moment ago"
        jobs.append(ask())

    for _ in range(6):
        clock.turn(2)
        clock.jump(-3600)
        queue.heartbeat(kept)
        queue.expire()

    assert states(queue, jobs[:2]) == [JobState.RUNNING, JobState.QUEUED]
    assert executors.alive() == [], "it has been silent for 12 seconds"
    assert [claimed(queue).job.id for _ in range(5)] == [job.id for job in jobs[1:]]
