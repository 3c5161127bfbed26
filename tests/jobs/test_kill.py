"""Executors killed at any moment: nothing is lost or published twice, and the pictures are the same."""

import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import db
from jobs import exports
from jobs.executors import Executors
from jobs.exports import Export
from jobs.queue import Queue
from jobs.records import Counts, Job, JobState
from store import ArtifactStore
from tests.jobs.fast_executor import open_executor, open_queue
from tests.jobs.processes import executor, load, quick_settings, start_executor, wait_until

JOBS = 120
SEEDS = 8
EXECUTORS = 3


@pytest.fixture
def arguments(tmp_path: Path, database_url: str) -> list[str]:
    return quick_settings(tmp_path, f"database_url={database_url}")


@pytest.fixture
def queue(arguments: list[str]) -> Queue:
    return open_queue(load(arguments))


@pytest.fixture
def store(arguments: list[str]) -> ArtifactStore:
    return ArtifactStore(load(arguments).artifact_url)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "executors.log"


@pytest.fixture
def ask(queue: Queue) -> Callable[..., Job]:
    def ask(seed: int = 1, steps: int = 4, pause: float = 0.0, submitter: str = "ann", **more: str) -> Job:
        spec = {
            "prompt": "noise",
            "weights": "none",
            "seed": seed,
            "size": 24,
            "steps": steps,
            "pause": pause,
        }
        return queue.enqueue("numpy", spec | more, submitter=submitter)

    return ask


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Job], list[bytes]]:
    """The files of a job that nobody disturbs."""
    arguments = quick_settings(tmp_path_factory.mktemp("undisturbed"))
    db.migrate(load(arguments).database_url)
    queue, store = open_queue(load(arguments)), ArtifactStore(load(arguments).artifact_url)
    painter = open_executor(load(arguments))
    known: dict[str, list[bytes]] = {}

    def pictures(job: Job) -> list[bytes]:
        key = str(job.spec)
        if key not in known:
            alone = queue.enqueue(job.generator, job.spec, submitter="ann")
            painter.run(threading.Event(), job_id=alone.id)
            known[key] = published(queue.get(alone.id), store)
        return known[key]

    return pictures


def published(job: Job, store: ArtifactStore) -> list[bytes]:
    return [exports.read(store, job, export) for export in (Export.PNG, Export.GIF, Export.ZIP)]


def test_a_result_is_published_once_though_executors_are_killed(
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    undisturbed: Callable[[Job], list[bytes]],
    log: Path,
) -> None:
    jobs = [ask(seed=n % SEEDS, submitter=f"person-{n % 5}") for n in range(JOBS)]

    kills = kill_at_random(queue, arguments, log)

    ended = [queue.get(job.id) for job in jobs]
    assert Counter(job.state for job in ended) == {JobState.SUCCEEDED: JOBS}
    assert max(Counter(re.findall(r"job (\w+): finished", log.read_text())).values()) == 1
    assert all(published(job, store) == undisturbed(job) for job in ended)
    assert kills >= 6
    assert any(job.attempts > 1 for job in ended), "no kill hit a job"


def kill_at_random(queue: Queue, arguments: list[str], log: Path) -> int:
    """Run executors until all jobs have ended; after every few jobs one is killed and replaced."""
    chance = random.Random(7)
    crew: list[subprocess.Popen[bytes]] = [start_executor(arguments, log) for _ in range(EXECUTORS)]
    kills = 0
    try:
        while (waiting := queue.counts().waiting) > 0:
            goal = max(waiting - chance.randint(8, 18), 0)
            wait_until(lambda goal=goal: queue.counts().waiting <= goal, f"{goal} jobs wait")
            time.sleep(chance.uniform(0, 0.05))  # so that it hits any moment of a job's life
            victim = chance.randrange(EXECUTORS)
            crew[victim].kill()
            crew[victim].wait()
            kills += 1
            crew[victim] = start_executor(arguments, log)
        wait_until(lambda: queue.counts() == Counts(waiting=0, running=0), "the last jobs have ended")
    finally:
        for process in crew:
            process.kill()
            process.wait()
    return kills


def test_a_job_goes_on_from_its_checkpoint_after_a_kill(
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    undisturbed: Callable[[Job], list[bytes]],
    log: Path,
) -> None:
    job = ask(steps=30, pause=0.05)
    with executor(arguments, log):
        wait_until(lambda: step_of(queue, job) >= 10, "the job is under way")
    with executor(arguments, log):
        wait_until(lambda: queue.get(job.id).state.is_final, "the job has ended")

    ended = queue.get(job.id)
    assert ended.attempts == 2
    assert int(re.findall(r"goes on after step (\d+)", log.read_text())[0]) >= 9
    assert published(ended, store) == undisturbed(job)
    assert [point["step"] for point in ended.progress.history] == list(range(31))


def test_sigterm_hands_the_job_back_and_leaves_with_0(
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    undisturbed: Callable[[Job], list[bytes]],
    log: Path,
) -> None:
    job = ask(steps=30, pause=0.05)
    with executor(arguments, log) as process:
        wait_until(lambda: step_of(queue, job) >= 5, "the job is under way")
        process.terminate()
        assert process.wait(timeout=30) == 0

    back = queue.get(job.id)
    assert (back.state, back.attempts) == (JobState.QUEUED, 0)
    assert register(arguments).all() == []
    with executor(arguments, log):
        wait_until(lambda: queue.get(job.id).state.is_final, "the job has ended")
    assert "goes on after step" in log.read_text()
    assert published(queue.get(job.id), store) == undisturbed(job)


def test_a_running_job_is_cancelled_at_its_next_step(
    arguments: list[str], queue: Queue, tmp_path: Path, ask: Callable[..., Job], log: Path
) -> None:
    job = ask(steps=100_000, pause=0.01)
    other = ask(submitter="bob")
    with executor(arguments, log):
        wait_until(lambda: step_of(queue, job) >= 3, "the job is under way")
        queue.cancel(job.id)
        wait_until(lambda: queue.get(job.id).state.is_final, "the job has ended")
        wait_until(lambda: queue.get(other.id).state.is_final, "the next job has ended")

    assert queue.get(job.id).state is JobState.CANCELLED
    assert queue.get(other.id).state is JobState.SUCCEEDED
    assert left_in_store(tmp_path, job) == []


def test_an_executor_that_slept_through_its_lease_publishes_nothing(
    arguments: list[str],
    queue: Queue,
    store: ArtifactStore,
    tmp_path: Path,
    ask: Callable[..., Job],
    undisturbed: Callable[[Job], list[bytes]],
    log: Path,
) -> None:
    job = ask(steps=30, pause=0.05)
    late_log = log.with_name("late.log")
    with executor(arguments, late_log) as late:
        wait_until(lambda: step_of(queue, job) >= 5, "the job is under way")
        late.send_signal(signal.SIGSTOP)
        with executor(arguments, log):
            wait_until(lambda: queue.get(job.id).state.is_final, "the other executor has finished it")
            late.send_signal(signal.SIGCONT)
            wait_until(lambda: "is lost" in late_log.read_text(), "the late executor has noticed")
            wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    ended = queue.get(job.id)
    assert (ended.state, ended.attempts) == (JobState.SUCCEEDED, 2)
    assert published(ended, store) == undisturbed(job)
    assert [Path(name).name for name in left_in_store(tmp_path, job)] == KEPT


KEPT = ["animation.gif", "frames.zip", "picture.png"]


def step_of(queue: Queue, job: Job) -> int:
    progress = queue.get(job.id).progress
    return -1 if progress is None else progress.step


def register(arguments: list[str]) -> Executors:
    return Executors(db.open_engine(load(arguments).database_url), alive_seconds=1.5)


def left_in_store(tmp_path: Path, job: Job) -> list[str]:
    folder = tmp_path / "artifacts" / "jobs" / job.id
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
