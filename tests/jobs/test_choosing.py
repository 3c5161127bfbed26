"""Who draws what: executors take what they can draw, and keep to the weights that they have loaded."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from jobs.executors import Executors
from jobs.queue import Queue
from jobs.records import ANYTHING, Capabilities, Claim, Job, JobState
from tests.jobs.conftest import TurnableClock

KEEP_SECONDS = 20
SMALL = Capabilities(frozenset({"small"}), memory=8 * 10**9)
BOTH = Capabilities(frozenset({"small", "large"}), memory=80 * 10**9)
SMALL_LOADED = Capabilities(frozenset({"small", "large"}), frozenset({"small"}))

Ask = Callable[..., Job]


@pytest.fixture
def queue(engine: Engine, clock: TurnableClock) -> Queue:
    return Queue(
        engine,
        lease_seconds=10,
        max_attempts=3,
        max_waiting_per_person=1000,
        keep_weights_seconds=KEEP_SECONDS,
        clock=clock,
        stopwatch=clock.stopwatch,
    )


@pytest.fixture
def executors(engine: Engine, clock: TurnableClock) -> Executors:
    return Executors(engine, alive_seconds=10, clock=clock, stopwatch=clock.stopwatch)


@pytest.fixture
def ask(queue: Queue) -> Ask:
    def ask(weights: str, submitter: str = "ann", needs_memory: int = 0, priority: int = 0) -> Job:
        spec = {"prompt": "a circle", "weights": weights, "seed": 1}
        return queue.enqueue("numpy", spec, submitter=submitter, priority=priority, needs_memory=needs_memory)

    return ask


def claimed(queue: Queue, able: Capabilities) -> Claim:
    claim = queue.claim("executor", able=able)
    assert claim is not None
    return claim


def test_an_executor_takes_only_jobs_whose_weights_it_has(queue: Queue, ask: Ask) -> None:
    large, small = ask("large"), ask("small")

    assert claimed(queue, SMALL).job.id == small.id
    assert queue.claim("executor", able=SMALL) is None
    assert queue.claim("executor", able=Capabilities(frozenset())) is None
    assert claimed(queue, BOTH).job.id == large.id


def test_an_executor_takes_only_jobs_that_fit_its_memory(queue: Queue, ask: Ask) -> None:
    greedy, modest, unknown = (
        ask("small", needs_memory=9 * 10**9),
        ask("small", needs_memory=10**9),
        ask("small"),
    )

    assert claimed(queue, SMALL).job.id == modest.id
    assert claimed(queue, SMALL).job.id == unknown.id
    assert queue.claim("executor", able=SMALL) is None
    assert claimed(queue, Capabilities(SMALL.weights, memory=0)).job.id == greedy.id, "its memory is unknown"


def test_who_knows_nothing_of_shelves_draws_anything(queue: Queue, ask: Ask) -> None:
    job = ask("whatever", needs_memory=10**15)

    assert claimed(queue, ANYTHING).job.id == job.id


def test_beside_a_crowd_that_an_executor_cannot_draw_anothers_first_job_starts_next(
    queue: Queue, ask: Ask
) -> None:
    """What is left out of a line costs nobody else a turn."""
    for _ in range(30):
        ask("large", "ann")
    for _ in range(5):
        ask("small", "ann")
    for _ in range(3):
        assert claimed(queue, SMALL).job.submitter == "ann"

    theirs = ask("large", "bob")

    assert claimed(queue, BOTH).job.id == theirs.id


def test_a_job_that_nobody_can_draw_says_what_is_missing(
    queue: Queue, executors: Executors, ask: Ask
) -> None:
    missing, greedy, fine = ask("large"), ask("small", needs_memory=9 * 10**9), ask("small")
    assert queue.position(missing.id).obstacle is None, "nobody lives, which is told otherwise"
    executors.register("one", device="cpu", threads=1, able=SMALL)

    assert queue.position(fine.id).obstacle is None
    assert queue.position(missing.id).obstacle == (
        "No running executor has the weights 'large': install them where one runs, "
        "or start one that has them."
    )
    assert queue.position(greedy.id).obstacle == (
        "This picture needs about 9.0 GB of memory and no running executor with its weights has more than "
        "8.0 GB: ask for a smaller one, or start one that has."
    )
    executors.beat("one", able=BOTH)
    assert [queue.position(job.id).obstacle for job in (missing, greedy, fine)] == [None] * 3


def test_the_register_tells_what_each_can_draw(executors: Executors) -> None:
    executors.register("one", device="cpu", threads=1, able=SMALL)
    executors.register("two", device="cpu", threads=1)
    assert [executor.able for executor in executors.all()] == [SMALL, ANYTHING]

    executors.beat("one", able=SMALL_LOADED)

    assert [executor.able for executor in executors.all()] == [SMALL_LOADED, ANYTHING]
    executors.leave("one")
    assert executors.beat("one", able=SMALL) is False
    assert [executor.id for executor in executors.all()] == ["two"]


def test_an_executor_keeps_to_its_loaded_weights(queue: Queue, ask: Ask) -> None:
    large, small, other = ask("large"), ask("small"), ask("small", "bob")

    assert claimed(queue, SMALL_LOADED).job.id == other.id, "bob's first comes before ann's second"
    assert claimed(queue, SMALL_LOADED).job.id == small.id
    assert claimed(queue, SMALL_LOADED).job.id == large.id, "none is left that needs what is loaded"


def test_nobody_is_passed_over_for_longer_than_is_allowed(
    queue: Queue, ask: Ask, clock: TurnableClock
) -> None:
    large = ask("large")
    small = [ask("small", f"person-{n}") for n in range(4)]
    assert claimed(queue, SMALL_LOADED).job.id == small[0].id
    clock.turn(KEEP_SECONDS)
    assert claimed(queue, SMALL_LOADED).job.id == small[1].id
    clock.turn(1)

    assert claimed(queue, SMALL_LOADED).job.id == large.id
    assert claimed(queue, SMALL_LOADED).job.id == small[2].id


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_makes_nobody_wait_for_ever(
    queue: Queue, ask: Ask, clock: TurnableClock, hours: int
) -> None:
    large = ask("large")
    for n in range(4):
        ask("small", f"person-{n}")
    claimed(queue, SMALL_LOADED)
    clock.jump(3600 * hours)
    started = []
    for _ in range(3):
        started.append(claimed(queue, SMALL_LOADED).job.id)
        clock.turn(KEEP_SECONDS + 1)

    assert large.id in started[:2]


def test_no_urgent_job_is_passed_over(queue: Queue, ask: Ask) -> None:
    ask("small")
    urgent = ask("large", priority=1)

    assert claimed(queue, SMALL_LOADED).job.id == urgent.id


def test_keeping_to_weights_costs_other_people_no_turn(queue: Queue, ask: Ask) -> None:
    """Ann's later jobs are drawn before her first, and bob, who comes then, is next all the same."""
    for weights in ("large", *["small"] * 20):
        ask(weights, "ann")
    for _ in range(10):
        assert claimed(queue, SMALL_LOADED).job.weights == "small"

    theirs = ask("small", "bob")

    assert claimed(queue, SMALL_LOADED).job.id == theirs.id


def test_an_executor_looks_only_a_little_down_the_line(queue: Queue, ask: Ask) -> None:
    first = [ask("large", f"person-{n}") for n in range(32)][0]
    ask("small", "last")

    assert claimed(queue, SMALL_LOADED).job.id == first.id


@pytest.mark.parametrize("able", [ANYTHING, BOTH, SMALL_LOADED])
def test_the_usual_claim_is_one_statement_and_the_turn(
    queue: Queue, engine: Engine, ask: Ask, able: Capabilities
) -> None:
    for submitter in ("ann", "bob"):
        ask("small", submitter)
    said: list[str] = []
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
    if engine.dialect.name != "sqlite":
        pytest.skip("SQLite's driver tells what it is asked")
    driver.set_trace_callback(said.append)
    claimed(queue, able)
    driver.set_trace_callback(None)

    assert [line.split()[0] for line in said if line.startswith(("SELECT", "UPDATE"))] == ["UPDATE"] * (
        2 if able == ANYTHING else 3
    )


def test_concurrent_claims_that_pass_over_each_others_jobs_get_each_job_once(queue: Queue, ask: Ask) -> None:
    asked = [ask(("small", "large", "third")[n % 3], f"person-{n % 4}") for n in range(90)]
    names = frozenset({"small", "large", "third"})
    able = [Capabilities(names, frozenset({name})) for name in sorted(names)]
    able += [Capabilities(frozenset({"large"})), ANYTHING]

    def work(n: int) -> list[str]:
        own, claims = able[n % len(able)], []
        while (claim := queue.claim(f"executor-{n}", able=own)) is not None:
            claims.append(claim.job.id)
            if len(claims) % 5 == 0:
                queue.cancel(asked[-len(claims)].id)
        return claims

    with ThreadPoolExecutor(8) as threads:
        started = Counter(job_id for claims in threads.map(work, range(8)) for job_id in claims)

    cancelled = {job.id for job in asked if queue.get(job.id).state is JobState.CANCELLED}
    assert set(started) | cancelled == {job.id for job in asked}
    assert set(started).isdisjoint(cancelled)
    assert set(started.values()) == {1}
