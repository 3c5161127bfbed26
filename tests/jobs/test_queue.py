from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

import db
from db import tables, writing
from jobs.batch import of_seeds
from jobs.executors import Executors
from jobs.queue import JobNotFound, Queue, TooManyWaiting
from jobs.records import Claim, Job, JobState, Progress, Result
from jobs.rows import select_jobs
from tests.jobs.conftest import TurnableClock

Ask = Callable[..., Job]
Silence = Callable[[], int]


def claimed(queue: Queue) -> Claim:
    claim = queue.claim("executor")
    assert claim is not None
    return claim


def drain(queue: Queue) -> list[Job]:
    """All waiting jobs in the order in which they start."""
    started = []
    while (claim := queue.claim("executor")) is not None:
        started.append(claim.job)
    return started


def submitters(jobs: list[Job]) -> str:
    return " ".join(job.submitter for job in jobs)


def test_a_job_keeps_what_was_asked(queue: Queue, clock: TurnableClock) -> None:
    spec = {"prompt": "ein grüner Kreis", "weights": "sandbox", "seed": 7, "init": "prior"}

    job = queue.enqueue("numpy", spec, submitter="ann", priority=3)

    assert queue.get(job.id) == job
    assert job.spec == spec
    assert (job.prompt, job.weights, job.parameters) == (
        "ein grüner Kreis",
        "sandbox",
        {"seed": 7, "init": "prior"},
    )
    assert (job.state, job.priority, job.created_at) == (JobState.QUEUED, 3, clock.now)


def test_concurrent_claims_never_give_the_same_job_twice(queue: Queue, ask: Ask) -> None:
    ids = {ask(f"person-{n % 7}").id for n in range(60)}

    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda n: queue.claim(f"executor-{n}"), range(80)))

    got = Counter(claim.job.id for claim in claims if claim is not None)
    assert set(got) == ids
    assert max(got.values()) == 1


def test_cancelling_a_running_job_reaches_its_executor(queue: Queue, ask: Ask, clock: TurnableClock) -> None:
    job = ask()
    claim = claimed(queue)
    news = Progress(1, 9, "frame.jpg", [], clock.now)
    assert queue.record_progress(claim, news) is False

    assert queue.cancel(job.id).cancel_requested

    assert queue.record_progress(claim, news) is True
    assert queue.heartbeat(claim) is True
    queue.acknowledge_cancel(claim)
    ended = queue.get(job.id)
    assert (ended.state, ended.finished_at) == (JobState.CANCELLED, clock.now)
    assert ended.progress is not None
    assert ended.progress.frame is None


def test_a_finished_job_cannot_be_cancelled(queue: Queue, succeed: Ask) -> None:
    assert queue.cancel(succeed().id).state is JobState.SUCCEEDED


def test_a_heartbeat_keeps_the_lease(
    queue: Queue, ask: Ask, clock: TurnableClock, fall_silent: Silence
) -> None:
    ask()
    claim = claimed(queue)
    for _ in range(12):
        clock.turn(3)
        queue.heartbeat(claim)
        assert queue.expire() == 0
    assert fall_silent() == 1


def test_a_silent_executors_job_starts_again_from_its_checkpoint(
    queue: Queue, ask: Ask, fall_silent: Silence
) -> None:
    job = ask()
    queue.record_checkpoint(claimed(queue), "jobs/1/checkpoint/7")
    fall_silent()

    again = claimed(queue)

    assert (again.job.id, again.job.attempts, again.checkpoint) == (job.id, 2, "jobs/1/checkpoint/7")


def test_a_job_that_stumbled_starts_afresh(queue: Queue, ask: Ask) -> None:
    ask()
    claim = claimed(queue)
    queue.record_checkpoint(claim, "jobs/1/checkpoint/7")

    queue.retry(claim, "It broke down.")

    assert claimed(queue).checkpoint is None


def test_a_job_is_set_aside_when_its_attempts_are_spent(queue: Queue, ask: Ask, fall_silent: Silence) -> None:
    silent, stumbled = ask(), ask()
    for _ in range(3):
        claims = {claim.job.id: claim for claim in (claimed(queue), claimed(queue))}
        queue.retry(claims[stumbled.id], "It broke down.")
        fall_silent()

    assert queue.claim("executor") is None
    assert queue.get(stumbled.id).error == "It broke down."
    assert "executors stopped while drawing it, in 3 of 3 attempts" in (queue.get(silent.id).error or "")
    assert {queue.get(job.id).state for job in (silent, stumbled)} == {JobState.FAILED}


def test_a_job_handed_back_has_spent_no_attempt(queue: Queue, ask: Ask) -> None:
    job = ask()
    for _ in range(10):
        queue.release(claimed(queue))

    assert (queue.get(job.id).state, queue.get(job.id).attempts) == (JobState.QUEUED, 0)


def test_higher_priorities_start_first(queue: Queue, ask: Ask) -> None:
    for priority in (0, 5, -1, 5):
        ask(priority=priority)

    assert [job.priority for job in drain(queue)] == [5, 5, 0, -1]


def test_a_persons_jobs_start_in_the_order_asked(queue: Queue, ask: Ask) -> None:
    ids = [ask().id for _ in range(20)]

    assert [job.id for job in drain(queue)] == ids


def test_submitters_take_turns(queue: Queue, ask: Ask) -> None:
    for submitter in "aaaabbc":
        ask(submitter)

    assert submitters(drain(queue)) == "a b c a b a a"


def test_a_waiting_job_has_its_turn_however_many_newcomers_arrive(queue: Queue, ask: Ask) -> None:
    """Newcomers arrive for ever, as fast as jobs are started, and a waiting job still has its turn."""
    jobs = [ask("ann") for _ in range(5)]
    started: list[str] = []
    for newcomer in range(30):
        ask(f"newcomer-{newcomer}")
        started.append(claimed(queue).job.id)

    assert [job.id for job in jobs if job.id in started] == [job.id for job in jobs]


def test_cancelled_jobs_cost_no_turn(queue: Queue, ask: Ask) -> None:
    for job in [ask("ann") for _ in range(30)]:
        queue.cancel(job.id)
    for submitter in ("bob", "bob", "ann"):
        ask(submitter)

    assert submitters(drain(queue)) == "bob ann bob"


def test_claiming_a_job_out_of_turn_takes_nobodys_turn(queue: Queue, ask: Ask) -> None:
    last = [ask("ann") for _ in range(20)][-1]

    claim = queue.claim("executor", job_id=last.id)

    assert claim is not None
    assert claim.job.id == last.id
    assert queue.claim("executor", job_id=last.id) is None
    ask("bob")
    assert submitters(drain(queue)[:3]) == "ann bob ann"


def test_nobody_has_more_waiting_jobs_than_allowed(engine: Engine, clock: TurnableClock) -> None:
    queue = Queue(engine, lease_seconds=10, max_attempts=3, max_waiting_per_person=2, clock=clock)
    spec = {"prompt": "a circle", "weights": "sandbox"}
    for _ in range(2):
        queue.enqueue("numpy", spec, submitter="ann")

    with pytest.raises(TooManyWaiting, match="You have 2 waiting jobs"):
        queue.enqueue("numpy", spec, submitter="ann")

    queue.enqueue("numpy", spec, submitter="bob")
    claimed(queue)
    queue.enqueue("numpy", spec, submitter="ann")


def test_a_batch_of_none_is_accepted_and_costs_no_turn(queue: Queue, ask: Ask) -> None:
    assert queue.enqueue_all("numpy", [], submitter="ann") == []
    first, other = ask("ann"), ask("bob")
    assert [claimed(queue).job.id, claimed(queue).job.id] == [first.id, other.id]


def test_a_batch_is_accepted_whole_or_not_at_all(engine: Engine, clock: TurnableClock) -> None:
    queue = Queue(engine, lease_seconds=10, max_attempts=3, max_waiting_per_person=4, clock=clock)
    batch = of_seeds({"prompt": "a circle", "weights": "sandbox", "seed": 2**32 - 2}, 3)

    accepted = queue.enqueue_all("numpy", batch, submitter="ann")

    assert [job.parameters["seed"] for job in accepted] == [2**32 - 2, 2**32 - 1, 0]
    assert [queue.get(job.id) for job in accepted] == accepted
    with pytest.raises(TooManyWaiting, match="You have 3 waiting jobs, and may have 4: ask for fewer"):
        queue.enqueue_all("numpy", batch, submitter="ann")
    assert queue.search("ann").total == 3
    queue.enqueue_all("numpy", batch, submitter="bob")
    assert submitters(drain(queue)) == "ann bob ann bob ann bob", "a batch overtakes nobody"


def test_positions_and_counts_tell_who_waits(queue: Queue, ask: Ask) -> None:
    first, second, urgent = ask("ann"), ask("ann"), ask("bob", priority=1)

    assert [queue.position(job.id).ahead for job in (urgent, first, second)] == [0, 1, 2]
    claimed(queue)
    assert (queue.counts().waiting, queue.counts().running) == (2, 1)
    assert [queue.position(job.id).ahead for job in (urgent, first, second)] == [0, 0, 1]


def test_the_wait_is_estimated_from_recent_results(
    queue: Queue, engine: Engine, ask: Ask, succeed: Ask, clock: TurnableClock
) -> None:
    first, second = ask(), ask()
    assert queue.position(second.id).eta_seconds is None, "no results yet, nobody alive"
    for job in (first, second):
        queue.cancel(job.id)
    succeed()  # in 1.5 seconds
    waiting = [ask() for _ in range(3)]
    executors = Executors(engine, alive_seconds=10, clock=clock)
    executors.register("one", device="cpu", threads=1)

    assert [queue.position(job.id).eta_seconds for job in waiting] == [1.5, 3.0, 4.5]
    executors.register("two", device="cpu", threads=1)
    assert queue.position(waiting[2].id).eta_seconds == 3.0
    queue.pause("an admin")
    assert queue.position(waiting[2].id).eta_seconds is None, "nobody knows when it is resumed"


def test_the_rest_of_a_running_job_is_estimated_from_its_steps(
    queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    job = ask()
    claim = claimed(queue)
    clock.turn(6)
    queue.record_progress(claim, Progress(20, 60, None, [], clock.now))

    assert queue.position(job.id).eta_seconds == pytest.approx(12)


def test_a_persons_active_jobs_come_newest_first(queue: Queue, ask: Ask, succeed: Ask) -> None:
    succeed("ann")
    ask("bob")
    mine = [ask("ann"), ask("ann")]
    queue.claim("executor")

    assert [job.id for job in queue.active("ann")] == [mine[1].id, mine[0].id]


def test_jobs_are_listed_by_person_and_state(queue: Queue, ask: Ask, succeed: Ask) -> None:
    done, waiting, _ = succeed("ann"), ask("ann"), ask("bob")

    assert [job.id for job in queue.search("ann").items] == [waiting.id, done.id]
    assert [job.id for job in queue.search("ann", JobState.SUCCEEDED).items] == [done.id]
    assert queue.search(page=2, per_page=2).total == 3
    assert [job.id for job in queue.search(page=2, per_page=2).items] == [done.id]


def test_unknown_jobs_are_told(queue: Queue) -> None:
    for look in (queue.get, queue.cancel, queue.position):
        with pytest.raises(JobNotFound, match="There is no job nowhere"):
            look("nowhere")


def test_finishing_is_all_or_nothing(queue: Queue, engine: Engine, ask: Ask) -> None:
    """A result that cannot be written leaves the job running."""
    job = ask()
    claim = claimed(queue)
    with writing(engine) as connection:
        connection.execute(tables.results.insert(), stray_result(job.id))

    with pytest.raises((IntegrityError, engine.dialect.loaded_dbapi.IntegrityError)):
        queue.finish(claim, Result("a", "b", 1.0, {}, 1, 1))

    assert queue.get(job.id).state is JobState.RUNNING


def test_leftovers_are_told_until_they_are_tidied(queue: Queue, ask: Ask, clock: TurnableClock) -> None:
    done, cancelled_waiting, handed_back = ask("a"), ask("b"), ask("c")
    claims = {claim.job.id: claim for claim in (claimed(queue) for _ in range(3))}
    queue.release(claims[cancelled_waiting.id])
    queue.cancel(cancelled_waiting.id)
    queue.release(claims[handed_back.id])
    queue.finish(claims[done.id], Result("a", "b", 1.0, {}, 1, 1))

    assert {job.id for job in queue.leftovers()} == {done.id, cancelled_waiting.id}
    queue.tidied(done.id)
    assert [job.id for job in queue.leftovers()] == [cancelled_waiting.id]


def test_executors_are_alive_while_they_report(
    engine: Engine, queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    executors = Executors(engine, alive_seconds=10, clock=clock)
    executors.register("one", device="cpu", threads=2)
    executors.register("two", device="cuda:0", threads=4)
    job = ask()
    queue.claim("two")
    clock.turn(8)
    executors.beat("one", trouble="The disk is full.")
    clock.turn(8)

    one, two = executors.all()

    assert (one.id, one.alive, one.trouble, one.job_id) == ("one", True, "The disk is full.", None)
    assert (two.id, two.alive, two.job_id, two.device, two.threads) == ("two", False, job.id, "cuda:0", 4)
    assert executors.alive() == [one]
    executors.leave("one")
    assert [executor.id for executor in executors.all()] == ["two"]
    clock.now += timedelta(hours=2)
    executors.register("three", device="cpu", threads=1)
    assert [executor.id for executor in executors.all()] == ["three"]


def stray_result(job_id: str) -> dict[str, object]:
    return {
        "job_id": job_id,
        "image": "a",
        "animation": "b",
        "seconds": 1.0,
        "numbers": {},
        "width": 1,
        "height": 1,
    }


def test_executors_whose_clocks_are_far_apart_stay_on_the_register(
    engine: Engine, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hours_ahead() -> datetime:
        return clock.now + timedelta(hours=5)

    one = Executors(engine, alive_seconds=10, clock=clock, stopwatch=clock.stopwatch)
    other = Executors(engine, alive_seconds=10, clock=hours_ahead, stopwatch=clock.stopwatch)
    for name, executors in (("one", one), ("other", other)):
        monkeypatch.setattr("socket.gethostname", lambda name=name: f"host of {name}")
        executors.register(name, device="cpu", threads=1)
    for _ in range(100):
        clock.turn(61)
        assert one.beat("one")
        assert other.beat("other")


def test_an_executor_that_was_silent_for_an_hour_is_struck_out(engine: Engine, clock: TurnableClock) -> None:
    one = Executors(engine, alive_seconds=10, clock=clock, stopwatch=clock.stopwatch)
    for name in ("one", "other"):
        one.register(name, device="cpu", threads=1)
    for _ in range(59):
        clock.turn(61)
        one.beat("one")
    assert len(one.all()) == 2
    for _ in range(2):
        clock.turn(61)
        one.beat("one")
    assert [executor.id for executor in one.all()] == ["one"]


def test_a_persons_jobs_are_found_without_looking_through_everybodys(queue: Queue, engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("SQLite's planner tells it plainly")
    newest = select_jobs().where(tables.jobs.c.submitter == "ann").order_by(tables.jobs.c.number.desc())
    asked = str(newest).replace(":submitter_1", "?")
    with db.reading(engine) as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("ann",))
        told = "\n".join(row.detail for row in plan)
    assert "jobs_of_a_person" in told
    assert "TEMP B-TREE" not in told
