import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

import db
from jobs.artifacts import ArtifactStore
from jobs.queue import Queue
from jobs.records import Job, Result

everywhere = pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
"""Runs a test on a folder and on an object store."""


class TurnableClock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/studio.db"
    db.migrate(url)
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = db.open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine, clock: TurnableClock) -> Queue:
    return Queue(engine, lease_seconds=10, max_attempts=3, max_waiting_per_person=1000, clock=clock)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """In a folder, or where a test asks for it, in the object store."""
    if getattr(request, "param", "folder") == "folder":
        return ArtifactStore(str(tmp_path / "artifacts"))
    objects = request.getfixturevalue("object_store")
    return ArtifactStore(objects.place(), objects.options())


@pytest.fixture
def ask(queue: Queue) -> Callable[..., Job]:
    def ask(submitter: str = "ann", prompt: str = "a red circle", priority: int = 0, seed: int = 1) -> Job:
        spec = {"prompt": prompt, "weights": "sandbox", "seed": seed}
        return queue.enqueue("numpy", spec, submitter=submitter, priority=priority)

    return ask


@pytest.fixture
def succeed(queue: Queue, ask: Callable[..., Job], store: ArtifactStore) -> Callable[..., Job]:
    """A job that has been through the queue and left its files."""

    def succeed(submitter: str = "ann", prompt: str = "a red circle", seed: int = 1) -> Job:
        ask(submitter, prompt, seed=seed)
        claim = queue.claim("executor")
        assert claim is not None
        image = store.publish(claim.job.id, "picture.png", b"png")
        animation = store.publish(claim.job.id, "animation.gif", b"gif")
        queue.finish(claim, Result(image, animation, 1.5, {"score": 0.5}, 64, 64))
        return queue.get(claim.job.id)

    return succeed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
