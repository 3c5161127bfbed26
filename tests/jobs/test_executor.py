"""One executor in this process, with the fast painter: what it leaves, and what it does in trouble."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

import db
from db import tables
from jobs import executor, history
from jobs.animation import Choice
from jobs.attempt import Attempt
from jobs.checkpoint import Checkpoint
from jobs.executors import Executors
from jobs.painter import FrameLike
from jobs.pictures import pixels, png
from jobs.queue import Queue
from jobs.records import Job, JobState
from store import ArtifactStore, folder_of
from tests.conftest import on_sqlite
from tests.jobs.fast_executor import dump, open_executor, open_queue
from tests.jobs.processes import load, quick_settings, wait_until
from tests.object_store import ObjectStore

everywhere = pytest.mark.parametrize("arguments", ["folder", "s3"], indirect=True)


@pytest.fixture
def arguments(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> list[str]:
    arguments = quick_settings(
        tmp_path, f"database_url={database_url}", "queue.max_attempts=2", "queue.lease_seconds=30"
    )
    if getattr(request, "param", "folder") == "s3":
        objects = request.getfixturevalue("object_store")
        arguments += objects.settings(objects.place())
    return arguments


@pytest.fixture
def queue(arguments: list[str]) -> Queue:
    return open_queue(load(arguments))


@pytest.fixture
def store(arguments: list[str]) -> ArtifactStore:
    settings = load(arguments)
    return ArtifactStore(settings.artifact_url, settings.artifact_options)


@pytest.fixture
def ask(queue: Queue) -> Callable[..., Job]:
    def ask(steps: int = 12, size: int = 24, pause: float = 0.0, **more: str) -> Job:
        spec = {"prompt": "noise", "weights": "none", "seed": 1, "size": size, "steps": steps, "pause": pause}
        return queue.enqueue("numpy", spec | more, submitter="ann")

    return ask


@contextmanager
def working(arguments: list[str]) -> Iterator[None]:
    """An executor at work in another thread for the time of the block."""
    stop = threading.Event()
    thread = threading.Thread(target=open_executor(load(arguments)).run, args=[stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def done(queue: Queue, job: Job) -> Job:
    wait_until(lambda: queue.get(job.id).state.is_final, "the job has ended")
    return queue.get(job.id)


@everywhere
def test_a_job_leaves_its_picture_and_its_animation_and_nothing_else(
    arguments: list[str], queue: Queue, store: ArtifactStore, ask: Callable[..., Job]
) -> None:
    job = ask(steps=12, size=24)
    with working(arguments):
        ended = done(queue, job)
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    assert ended.state is JobState.SUCCEEDED
    assert (ended.result.width, ended.result.height) == (24, 24)
    assert ended.result.numbers == {"mean": ended.progress.history[-1]["mean"]}
    assert (ended.progress.step, ended.progress.steps, ended.progress.frame) == (12, 12, None)
    animation = Image.open(io.BytesIO(store.read(ended.result.animation)))
    assert animation.n_frames == 5
    recipe = {"generator": "numpy", "spec": job.spec}
    assert json.loads(animation.info["comment"]) == recipe
    assert json.loads(Image.open(io.BytesIO(store.read(ended.result.image))).text["recipe"]) == recipe
    left = [file.name.rpartition("/")[2] for file in store.files("jobs") + store.files("aside")]
    assert left == ["animation.gif", "frames.zip", "picture.png"]


def test_a_new_job_wakes_an_idle_executor_and_so_does_one_handed_back(
    arguments: list[str], queue: Queue, ask: Callable[..., Job]
) -> None:
    """By itself this one looks only every minute."""
    held = ask()
    claim = queue.claim("another executor")
    with working([*arguments, "executor.poll_seconds=60"]):
        wait_until(lambda: len(register(arguments).alive()) == 1, "the executor is there")
        for _ in range(3):
            job = ask(steps=1)
            wait_until(lambda job=job: queue.get(job.id).state.is_final, "the new job has ended", 30)
        queue.release(claim)
        wait_until(lambda: queue.get(held.id).state.is_final, "the job handed back has ended", 30)


@everywhere
def test_a_running_job_shows_its_newest_frame(
    arguments: list[str], queue: Queue, store: ArtifactStore, ask: Callable[..., Job]
) -> None:
    job = ask(steps=100_000, size=32, pause=0.01)
    with working(arguments):
        wait_until(lambda: (queue.get(job.id).progress or NOTHING).step > 20, "the job is under way")
        progress = queue.get(job.id).progress
        assert Image.open(io.BytesIO(store.read(progress.frame))).size == (32, 32)
        names = [file.name for file in store.files(f"jobs/{job.id}")]
        assert len([name for name in names if "/live/" in name]) <= 3, "old frames are gone"
        assert len([name for name in names if "/checkpoint/" in name]) <= 2
        assert len(progress.history) <= 202
        assert register(arguments).alive()[0].job_id == job.id
        queue.cancel(job.id)
        assert done(queue, job).state is JobState.CANCELLED


def test_a_job_of_no_steps_is_finished_too(
    arguments: list[str], queue: Queue, ask: Callable[..., Job]
) -> None:
    job = ask(steps=0)
    with working(arguments):
        assert done(queue, job).state is JobState.SUCCEEDED


def test_a_hopeless_job_fails_at_once_with_its_sentence(
    arguments: list[str], queue: Queue, ask: Callable[..., Job]
) -> None:
    job, other = ask(trouble="hopeless"), ask()
    with working(arguments):
        ended = done(queue, job)
        assert done(queue, other).state is JobState.SUCCEEDED

    assert (ended.state, ended.attempts, ended.error) == (JobState.FAILED, 1, "No such luck.")


def test_a_bug_is_tried_again_and_then_told(
    arguments: list[str], queue: Queue, ask: Callable[..., Job], caplog: pytest.LogCaptureFixture
) -> None:
    job, other = ask(trouble="bug"), ask()
    with working(arguments):
        ended = done(queue, job)
        assert done(queue, other).state is JobState.SUCCEEDED

    assert (ended.state, ended.attempts) == (JobState.FAILED, 2)
    assert "RuntimeError: No such luck." in ended.error
    assert [record.exc_info is not None for record in caplog.records if "failed" in record.message] == [
        True
    ] * 2


@everywhere
def test_who_tidies_up_late_takes_nothing_of_a_job_that_was_asked_for_again(
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = ask()
    claim = queue.claim("another executor")
    for name in ("frames/000001.png", "result-1/picture.png"):
        store.publish(job.id, name, b"")
    queue.fail(claim, "No such luck.")
    begins, goes_on = threading.Event(), threading.Event()
    delete = ArtifactStore.delete_job

    def delete_late(store: ArtifactStore, job_id: str, *folders: str) -> None:
        if not begins.is_set():
            begins.set()
            assert goes_on.wait(60)
        delete(store, job_id, *folders)

    monkeypatch.setattr(ArtifactStore, "delete_job", delete_late)
    with working(arguments):
        assert begins.wait(60)
        queue.again(job.id)
        with working(arguments):
            ended = done(queue, job)
        goes_on.set()
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    assert ended.state is JobState.SUCCEEDED
    assert {file.name.rpartition("/")[0] for file in store.files("jobs")} == {folder_of(ended.result.image)}
    assert ended.result.image.startswith(f"jobs/{job.id}/again-1/result-")


@everywhere
def test_an_executor_that_publishes_late_replaces_nothing(
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is held up between its last frame and its picture, until another has drawn the job."""
    job = ask()
    at_the_end, goes_on = threading.Event(), threading.Event()
    publish = Attempt._publish

    def publish_late(attempt: Attempt, last: FrameLike) -> tuple[str, str]:
        if not at_the_end.is_set():
            at_the_end.set()
            assert goes_on.wait(60)
            last = replace(last, image=255 - last.image)  # as another device might draw it
        return publish(attempt, last)

    monkeypatch.setattr(Attempt, "_publish", publish_late)
    with working(arguments):
        assert at_the_end.wait(60)
        lose_lease(arguments, job)
        with working(arguments):
            ended = done(queue, job)
        picture = store.read(ended.result.image)
        goes_on.set()
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")
        wait_until(lambda: len(store.files("jobs")) == 3, "what was published late is removed")

    assert queue.get(job.id).result == ended.result
    assert store.read(ended.result.image) == picture
    assert {folder_of(file.name) for file in store.files("jobs")} == {folder_of(ended.result.image)}


def lose_lease(arguments: list[str], job: Job) -> None:
    """As the queue takes it from an executor that was silent for too long."""
    taken = {"state": "queued", "token": None, "executor": None}
    with db.writing(db.open_engine(load(arguments).database_url)) as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == job.id).values(taken))


def test_a_job_whose_files_alone_the_store_refuses_is_failed_and_the_next_is_drawn(
    small_disk: Path,
    arguments: list[str],
    queue: Queue,
    ask: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frame of the first takes more than the disk has; the store takes small files all the time."""
    monkeypatch.setattr(executor, "TROUBLE_SECONDS", 0.1)
    large, small = ask(size=800), ask(size=24)
    with working([*arguments, f"artifact_url={small_disk}/artifacts"]):
        assert done(queue, small).state is JobState.SUCCEEDED

    assert queue.get(large.id).state is JobState.FAILED
    assert "No space left on device" in queue.get(large.id).error


def test_a_heart_that_stumbles_beats_on(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    beat, stumbled = Executors.beat, threading.Event()

    def beat_but_once(*told: object) -> bool:
        if not stumbled.is_set():
            stumbled.set()
            raise PermissionError("The folder of weights cannot be read.")
        return beat(*told)

    monkeypatch.setattr(Executors, "beat", beat_but_once)
    with working([*arguments, "executor.heartbeat_seconds=0.5"]):
        assert stumbled.wait(60)
        (seen,) = register(arguments).all()
        wait_until(lambda: register(arguments).all()[0].seen_at > seen.seen_at, "it is heard of again")


def test_an_idle_executor_sweeps_the_store(arguments: list[str], store: ArtifactStore) -> None:
    store.publish("a-job-that-is-gone", "frames/000001.png", b"")
    with working(arguments):
        wait_until(lambda: store.files("jobs") == [], "what nobody names is gone")


def test_an_executor_that_was_struck_out_registers_again(arguments: list[str]) -> None:
    executors = register(arguments)
    with working(arguments):
        wait_until(lambda: len(executors.all()) == 1, "the executor is on the register")
        (mine,) = executors.all()
        executors.leave(mine.id)
        wait_until(lambda: [e.id for e in executors.alive()] == [mine.id], "it is there again")


def test_a_full_disk_stops_the_claiming_and_loses_no_job(
    tmp_path: Path, small_disk: Path, arguments: list[str], queue: Queue, ask: Callable[..., Job]
) -> None:
    arguments = [*arguments, f"artifact_url={small_disk}/artifacts"]
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024 - 8192))
    jobs = [ask(size=64) for _ in range(3)]
    with working(arguments):
        wait_until(
            lambda: any(e.trouble for e in register(arguments).all()), "the executor tells its trouble"
        )
        (mine,) = register(arguments).alive()
        assert "No space left on device" in mine.trouble
        assert {queue.get(job.id).state for job in jobs} == {JobState.QUEUED}
        assert sum(queue.get(job.id).attempts for job in jobs) == 0
        ballast.unlink()
        assert {done(queue, job).state for job in jobs} == {JobState.SUCCEEDED}
        wait_until(lambda: all(e.trouble is None for e in register(arguments).all()), "the trouble is over")


@on_sqlite
@pytest.mark.parametrize("arguments", ["s3"], indirect=True)
def test_a_job_waits_for_an_object_store_that_was_killed_and_is_finished_from_its_checkpoint(
    object_store: ObjectStore,
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    job, untouched = ask(steps=60, pause=0.02), ask(steps=60)
    with working(arguments):
        wait_until(lambda: (queue.get(job.id).progress or NOTHING).step > 20, "the job is under way")
        object_store.kill()
        wait_until(lambda: any(e.trouble for e in register(arguments).all()), "the trouble is told")
        (mine,) = register(arguments).alive()
        assert "see that it runs" in mine.trouble
        assert (queue.get(job.id).state, queue.get(job.id).attempts) == (JobState.QUEUED, 0)
        object_store.start()
        assert done(queue, job).state is done(queue, untouched).state is JobState.SUCCEEDED
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    assert "goes on after step" in caplog.text
    for ended in (queue.get(job.id), queue.get(untouched.id)):
        assert ended.attempts == 1
        assert Image.open(io.BytesIO(store.read(ended.result.animation))).n_frames == 5
    drawn, undisturbed = (pixels(store.read(queue.get(one.id).result.image)) for one in (job, untouched))
    assert np.array_equal(drawn, undisturbed), "the picture is the one that it would have been"
    names = [file.name.rpartition("/")[2] for file in store.files("jobs") + store.files("aside")]
    assert names == ["animation.gif", "frames.zip", "picture.png"] * 2


@pytest.mark.parametrize(
    "damaged",
    ["missing", "cut short", "of another version", "without its frame", "without a frame before"],
)
def test_a_checkpoint_that_cannot_be_used_costs_only_time(
    damaged: str, arguments: list[str], queue: Queue, store: ArtifactStore, ask: Callable[..., Job]
) -> None:
    job = ask()
    claim = queue.claim("an executor that crashed")
    content = {
        "missing": None,
        "cut short": b'{"step": 3, "st',
        "of another version": b'{"stage": 3}\nstate',
        "without its frame": Checkpoint(3, 12, [0, 3], {}, [], 1.0, b"state").to_bytes(),
        "without a frame before": Checkpoint(
            3, 12, [0, 3], {}, [], 1.0, dump(3, np.zeros((24, 24, 3)))
        ).to_bytes(),
    }[damaged]
    if damaged == "without a frame before":
        store.publish(job.id, "frames/000003.png", png(np.zeros((24, 24, 3), np.uint8)))
    name = f"jobs/{job.id}/checkpoint/000003"
    if content is not None:
        store.publish(job.id, "checkpoint/000003", content)
    queue.record_checkpoint(claim, name)
    queue.release(claim)

    with working(arguments):
        assert done(queue, job).state is JobState.SUCCEEDED


@pytest.mark.parametrize(("steps", "frames"), [(0, 5), (1, 5), (4, 5), (5, 5), (60, 40), (2000, 40), (9, 2)])
def test_an_animation_shows_the_first_and_the_last_step_and_even_ones_between(
    steps: int, frames: int
) -> None:
    choice = Choice(steps, frames)

    shown = [step for step in range(steps + 1) if choice.takes(step, step - 1 if step else None)]

    assert len(shown) == min(frames, steps + 1)
    assert shown[-1] == steps
    assert shown[0] == 0
    gaps = [after - before for before, after in zip(shown, shown[1:], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_an_animation_takes_the_next_frame_where_a_generator_skips_steps() -> None:
    choice = Choice(100, 5)
    seen = [0, 20, 40, 60, 80, 100]

    shown = [step for before, step in zip([None, *seen], seen, strict=False) if choice.takes(step, before)]

    assert shown == [0, 40, 60, 80, 100]


@pytest.mark.parametrize("steps", [0, 1, 150, 200, 2000])
def test_the_history_is_thinned_evenly_and_ends_with_the_newest(steps: int) -> None:
    points: list[dict[str, float]] = []
    for step in range(steps + 1):
        points = history.extended(points, step, steps, {"loss": float(step), "broken": float("nan")})
        assert points[-1] == {"step": step, "loss": step}
        assert len(points) <= 202

    assert points[0]["step"] == 0
    assert len(points) >= min(steps + 1, 150)


class NOTHING:
    step = -1


def register(arguments: list[str]) -> Executors:
    return Executors(db.open_engine(load(arguments).database_url), alive_seconds=30)
