"""A new version comes while people wait: nobody's job is lost, drawn twice, or drawn otherwise."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import db
from jobs import exports
from jobs.exports import Export
from jobs.queue import Queue
from jobs.records import Job, JobState
from settings import ROOT
from store import ArtifactStore
from tests.jobs.fast_executor import open_executor, open_queue
from tests.jobs.processes import SCRIPT, WebServer, load, quick_settings, wait_until

JOBS = 30
SEEDS = 5
STEPS = 20
EXECUTORS = 3
WHAT_AN_EXECUTOR_IS_MADE_OF = ("db", "jobs", "logs.py", "settings.py", "store.py", "config.yaml")

Process = subprocess.Popen[bytes]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    arguments = quick_settings(
        tmp_path / "data", "queue.max_attempts=1", "queue.lease_seconds=60", "executor.checkpoint_seconds=60"
    )
    db.migrate(load(arguments).database_url)
    return arguments


@pytest.fixture
def queue(arguments: list[str]) -> Queue:
    return open_queue(load(arguments))


@pytest.fixture
def new_version(tmp_path: Path) -> Path:
    """The folder of another checkout."""
    folder = tmp_path / "new version"
    folder.mkdir()
    for name in WHAT_AN_EXECUTOR_IS_MADE_OF:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def ask(queue: Queue, seed: int) -> Job:
    size = {"size": 24, "steps": STEPS, "pause": 0.04}
    spec = {"prompt": "noise", "weights": "none", "seed": seed, **size}
    return queue.enqueue("numpy", spec, submitter=f"person-{seed}")


@pytest.mark.e2e
def test_a_new_version_replaces_executors_at_work_and_the_web_server_and_every_job_is_drawn_once(
    arguments: list[str], queue: Queue, new_version: Path, tmp_path: Path
) -> None:
    log = tmp_path / "executors.log"
    jobs = [ask(queue, seed=n % SEEDS) for n in range(JOBS)]

    with ended_processes() as started, web_server(arguments, tmp_path) as web:
        old = [start(ROOT, arguments, log, started) for _ in range(EXECUTORS)]
        web.stop()
        new = []
        for executor in old:
            new.append(start(new_version, arguments, log, started))
            wait_until(lambda e=executor: ended_at_work(queue, e), "the executor is ended at its work")
            assert executor.wait(timeout=60) == 0
        web.start()
        web.wait_until_it_answers()
        wait_until(lambda: all_ended(queue, jobs) or any_ended(new), "all jobs have ended")
        assert not any_ended(new), log.read_text()

    ended = [queue.get(job.id) for job in jobs]
    outcomes = re.findall(r"job (\w+): (finished|handed back)", log.read_text())
    assert Counter(job.state for job in ended) == {JobState.SUCCEEDED: JOBS}
    assert {job.attempts for job in ended} == {1}
    assert Counter(job for job, outcome in outcomes if outcome == "finished") == {job.id: 1 for job in jobs}
    assert sum(outcome == "handed back" for _, outcome in outcomes) == EXECUTORS
    store = ArtifactStore(load(arguments).artifact_url)
    undisturbed = drawn_undisturbed(tmp_path / "undisturbed")
    assert all(published(job, store) == undisturbed[job.parameters["seed"]] for job in ended)


def all_ended(queue: Queue, jobs: list[Job]) -> bool:
    return all(queue.get(job.id).state.is_final for job in jobs)


def any_ended(executors: list[Process]) -> bool:
    return any(executor.poll() is not None for executor in executors)


@contextmanager
def ended_processes() -> Iterator[list[Process]]:
    """A list of processes that are gone at the end of the block."""
    started: list[Process] = []
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def start(version: Path, arguments: list[str], log: Path, started: list[Process]) -> Process:
    """An executor that imports the code of that version."""
    environment = {**os.environ, "PYTHONPATH": str(version), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *arguments], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    started.append(process)
    return process


def ended_at_work(queue: Queue, executor: Process) -> bool:
    """Tell the executor to end if it is in the midst of a job: it stands still while that is made sure of."""
    assert executor.poll() is None, "the executor ended by itself"
    if not is_at_work(queue, executor):
        return False
    executor.send_signal(signal.SIGSTOP)
    sure = is_at_work(queue, executor)
    if sure:
        executor.send_signal(signal.SIGTERM)
    executor.send_signal(signal.SIGCONT)
    return sure


def is_at_work(queue: Queue, executor: Process) -> bool:
    running = queue.search(state=JobState.RUNNING).items
    mine = [job for job in running if f"-{executor.pid}-" in (job.executor or "")]
    return any(job.progress is not None and 0 < job.progress.step < STEPS // 2 for job in mine)


@contextmanager
def web_server(arguments: list[str], folder: Path) -> Iterator[WebServer]:
    server = WebServer(arguments, folder / "web.log")
    try:
        server.start()
        server.wait_until_it_answers()
        yield server
    finally:
        server.kill()


def drawn_undisturbed(folder: Path) -> dict[int, list[bytes]]:
    """What each seed gives where nobody restarts anything."""
    arguments = quick_settings(folder)
    db.migrate(load(arguments).database_url)
    queue, store = open_queue(load(arguments)), ArtifactStore(load(arguments).artifact_url)
    jobs = [ask(queue, seed) for seed in range(SEEDS)]
    for job in jobs:
        open_executor(load(arguments)).run(threading.Event(), job_id=job.id)
    return {job.parameters["seed"]: published(queue.get(job.id), store) for job in jobs}


def published(job: Job, store: ArtifactStore) -> list[bytes]:
    return [exports.read(store, job, export) for export in (Export.PNG, Export.GIF, Export.ZIP)]
