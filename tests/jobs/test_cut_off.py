"""The network to PostgreSQL swallows every packet, as when a cable is pulled, and is mended later."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

import db
from jobs.queue import Queue
from jobs.records import Job, JobState
from settings import ROOT
from store import ArtifactStore
from tests.jobs.conftest import outcomes
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import executor, load, quick_settings, wait_until
from tests.jobs.wholeness import check_whole
from tests.postgresql import OWNER, Cluster

SCRIPT = Path(__file__).with_name("cut_off_executor.py")
PORT = 5432
"""All are free in a network of one's own."""

SECONDS_TO_NOTICE = 3
PATIENCE = (
    f"connect_timeout={SECONDS_TO_NOTICE}&tcp_user_timeout={SECONDS_TO_NOTICE * 1000}"
    "&keepalives_idle=1&keepalives_interval=1&keepalives_count=2"
)
"""As the house has it, only less."""


@pytest.fixture(autouse=True)
def _may_make_a_network() -> None:
    tried = subprocess.run(
        ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "bfifo", "limit", "1"],
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        pytest.skip(f"needs the right to make a network of its own: {tried.stderr.strip()}")


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    with cluster.database() as url:
        yield url


@pytest.fixture
def arguments(tmp_path: Path, url: str) -> list[str]:
    return quick_settings(tmp_path, f"database_url={url}")


@pytest.fixture
def queue(arguments: list[str]) -> Queue:
    return open_queue(load(arguments))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = db.open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def ask(queue: Queue) -> Callable[..., Job]:
    def ask(steps: int, pause: float) -> Job:
        spec = {"prompt": "noise", "weights": "none", "seed": 1, "size": 24, "steps": steps, "pause": pause}
        return queue.enqueue("numpy", spec, submitter="ann")

    return ask


class Far:
    """An executor process behind a network that can be cut."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log

    def network(self, command: str) -> None:
        """``cut`` it or ``heal`` it."""
        assert self._process.stdin is not None
        already = self._told(command)
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        wait_until(lambda: self._told(command) > already, f"the network is told to {command}")

    def _told(self, command: str) -> int:
        return self._log.read_text().count(f"network: {command}")


@contextmanager
def far_executor(cluster: Cluster, url: str, folder: Path, log: Path) -> Iterator[Far]:
    name = url.rpartition("/")[2]
    through = f"postgresql+psycopg://{OWNER}@127.0.0.1:{PORT}/{name}?{PATIENCE}"
    command = ["unshare", "--net", sys.executable, str(SCRIPT), str(cluster.socket), str(PORT)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, *quick_settings(folder, f"database_url={through}")],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Far(process, log)
    finally:
        process.kill()
        process.communicate()


def step_of(queue: Queue, job: Job) -> int:
    progress = queue.get(job.id).progress
    return -1 if progress is None else progress.step


def test_an_executor_cut_off_from_postgresql_notices_loses_its_job_and_comes_back(
    cluster: Cluster,
    url: str,
    tmp_path: Path,
    arguments: list[str],
    queue: Queue,
    engine: Engine,
    ask: Callable[..., Job],
) -> None:
    log = tmp_path / "far.log"
    job = ask(steps=400, pause=0.02)
    with far_executor(cluster, url, tmp_path, log) as far:
        wait_until(lambda: step_of(queue, job) >= 5, "the job is under way")
        far.network("cut")
        with executor(arguments, tmp_path / "near.log"):
            wait_until(lambda: queue.get(job.id).state.is_final, "the other executor has finished it")
            wait_until(lambda: "No server answers" in log.read_text(), "the one cut off has noticed")
        taken_over = queue.get(job.id)
        assert (taken_over.state, outcomes(engine, job.id)) == (JobState.SUCCEEDED, ["lost"])
        assert f"-{far.pid}-" not in str(taken_over.executor)

        far.network("heal")
        later = ask(steps=4, pause=0.0)
        wait_until(lambda: queue.get(later.id).state.is_final, "the one that was cut off draws again")
        assert f"-{far.pid}-" in str(queue.get(later.id).executor)
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    assert queue.get(job.id) == taken_over
    assert f"job {job.id}: finished" not in log.read_text()
    assert (queue.get(later.id).state, outcomes(engine, later.id)) == (JobState.SUCCEEDED, [])
    check_whole(engine, ArtifactStore(load(arguments).artifact_url))
