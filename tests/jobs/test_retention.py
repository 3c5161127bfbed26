"""What is too old goes, whole, and nothing else does."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

import db
from jobs import retention
from jobs.figures import Watch
from jobs.gallery import Gallery
from jobs.queue import JobNotFound, Queue
from jobs.records import Job, JobState, Verdict
from jobs.retention import Retention, Summary
from jobs.votes import Votes
from settings import ROOT
from store import ArtifactStore, StoreError
from tests.jobs.conftest import TurnableClock
from tests.jobs.processes import executor, load, quick_settings, wait_until

Succeed = Callable[..., Job]
DAY = 24 * 3600


@pytest.fixture
def keeper(engine: Engine, store: ArtifactStore, clock: TurnableClock) -> Retention:
    return Retention(engine, store, 10, clock=clock)


@pytest.fixture
def gallery(engine: Engine, store: ArtifactStore, clock: TurnableClock) -> Gallery:
    return Gallery(engine, store, clock=clock)


def is_there(queue: Queue, job: Job) -> bool:
    try:
        return queue.get(job.id) is not None
    except JobNotFound:
        return False


def test_results_that_are_too_old_go_with_their_files_and_votes(
    keeper: Retention,
    queue: Queue,
    engine: Engine,
    store: ArtifactStore,
    succeed: Succeed,
    clock: TurnableClock,
) -> None:
    old, older = succeed(seed=1), succeed(seed=2)
    Votes(engine, clock=clock).cast("ann", old.id, older.id, Verdict.LEFT)
    clock.turn(10 * DAY)
    young = succeed(seed=3)
    clock.turn(1)

    would = keeper.would_delete()
    went = keeper.apply()

    assert would == went == Summary(2, 0, 12, old.finished_at)
    assert [is_there(queue, job) for job in (old, older, young)] == [False, False, True]
    assert Votes(engine).standings().results == []
    assert [store.size(job.id) for job in (old, older, young)] == [0, 0, 6]
    assert keeper.would_delete() == keeper.apply() == Summary()


def test_where_nothing_is_too_old_no_count_moves(keeper: Retention, engine: Engine, succeed: Succeed) -> None:
    Votes(engine).cast("ann", succeed(seed=1).id, succeed(seed=2).id, Verdict.LEFT)
    before = Watch(engine).figures().totals

    assert keeper.apply() == Summary()

    assert Watch(engine).figures().totals == before


def test_failed_and_cancelled_jobs_go_too_and_unfinished_ones_stay(
    keeper: Retention, queue: Queue, ask: Succeed, clock: TurnableClock
) -> None:
    failed = ask("ann")
    claim = queue.claim("executor")
    assert claim is not None
    queue.fail(claim, "It cannot be drawn.")
    cancelled, waiting = ask("bob"), ask("cat")
    queue.cancel(cancelled.id)
    clock.turn(11 * DAY)

    assert keeper.would_delete() == Summary(0, 2, 0, queue.get(failed.id).finished_at)
    keeper.apply()

    assert [is_there(queue, job) for job in (failed, cancelled, waiting)] == [False, False, True]


def test_what_somebody_stars_is_kept_for_ever(
    keeper: Retention, queue: Queue, gallery: Gallery, succeed: Succeed, clock: TurnableClock
) -> None:
    starred, unstarred = succeed(seed=1), succeed(seed=2)
    for person in ("bob", "cat"):
        gallery.star(starred.id, person)
        gallery.star(unstarred.id, person)
        gallery.unstar(unstarred.id, person)
    gallery.unstar(starred.id, "cat")
    clock.turn(5000 * DAY)

    keeper.apply()

    assert (is_there(queue, starred), is_there(queue, unstarred)) == (True, False)


def test_samples_are_kept_for_ever(keeper: Retention, gallery: Gallery, clock: TurnableClock) -> None:
    imported = gallery.import_samples(ROOT / "res" / "inferences")
    clock.turn(5000 * DAY)

    assert keeper.apply() == Summary()
    assert gallery.search().total == imported > 0


def test_no_days_keep_everything(
    engine: Engine, store: ArtifactStore, succeed: Succeed, clock: TurnableClock
) -> None:
    succeed()
    clock.turn(5000 * DAY)
    for_ever = Retention(engine, store, 0, clock=clock)

    assert for_ever.would_delete() == for_ever.apply() == Summary()


def test_more_than_a_batch_goes_and_the_counts_stand(
    keeper: Retention, engine: Engine, succeed: Succeed, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for seed in range(5):
        succeed(seed=seed)
    clock.turn(11 * DAY)
    watch = Watch(engine, clock=clock)
    before = watch.figures().totals

    assert keeper.apply().results == 5
    assert watch.figures().jobs[JobState.SUCCEEDED] == 0
    assert watch.figures().totals == before


def test_where_the_files_cannot_be_removed_nothing_that_is_named_is_missing(
    queue: Queue, engine: Engine, small_disk: Path, succeed: Succeed, clock: TurnableClock
) -> None:
    old, store = succeed(), ArtifactStore(str(small_disk))
    store.publish(old.id, "picture.png", b"png")
    clock.turn(11 * DAY)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(StoreError):
        Retention(engine, store, 10, clock=clock).apply()

    assert not is_there(queue, old)
    assert store.size(old.id) == 3  # it belongs to nobody, for python -m jobs sweep


def test_only_one_executor_an_hour_sees_to_it(
    queue: Queue, engine: Engine, store: ArtifactStore, succeed: Succeed, clock: TurnableClock
) -> None:
    one, other = (Retention(engine, store, 10, clock=clock) for _ in range(2))
    first = succeed(seed=1)
    clock.turn(11 * DAY)
    one.tidy("one")
    assert not is_there(queue, first)

    second = succeed(seed=2)
    clock.turn(11 * DAY - 3000)
    third_party = Retention(engine, store, 10, clock=clock)
    other.tidy("other")
    assert not is_there(queue, second)
    third = succeed(seed=3)
    clock.turn(3000)
    third_party.tidy("third")

    assert is_there(queue, third)


def test_an_idle_executor_sees_to_it(tmp_path: Path) -> None:
    arguments = quick_settings(tmp_path, "retention.keep_days=10")
    settings = load(arguments)
    db.migrate(settings.database_url)
    engine, store = db.open_engine(settings.database_url), ArtifactStore(settings.artifact_url)
    queue = Queue(engine, **vars(settings.queue), clock=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    job = queue.enqueue("numpy", {"prompt": "p", "weights": "none"}, submitter="ann")
    queue.cancel(job.id)
    store.publish(job.id, "picture.png", b"png")

    with executor(arguments, tmp_path / "executor.log"):
        wait_until(lambda: not is_there(queue, job) and store.size(job.id) == 0, "it is gone")
    engine.dispose()


def test_the_command_says_what_would_go_and_lets_it_go(tmp_path: Path) -> None:
    settings = load(quick_settings(tmp_path, "retention.keep_days=10"))
    db.migrate(settings.database_url)
    engine = db.open_engine(settings.database_url)
    queue = Queue(engine, **vars(settings.queue), clock=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    job = queue.enqueue("numpy", {"prompt": "p", "weights": "none"}, submitter="ann")
    queue.cancel(job.id)
    gone = "0 results and 1 failed or cancelled jobs with about 0.0 MB of files, the oldest of 1 Jan 2020."

    assert retention.command(settings, apply=False) == f"10 days are kept. --apply would delete {gone}"
    assert is_there(queue, job)
    assert retention.command(settings, apply=True) == f"Deleted {gone}"
    assert not is_there(queue, job)
    assert retention.command(settings, apply=True) == "Deleted nothing."
    settings.retention.keep_days = 0
    assert retention.command(settings, apply=True).startswith("Everything is kept: set retention.keep_days")
    engine.dispose()
