"""A real executor with a painter of a few lines: what the browser tests use until weights are shipped."""

import signal
import threading
import time
from collections.abc import Generator

import numpy as np

import db
from generators.contract import Frame
from jobs.artifacts import ArtifactStore
from jobs.executor import Executor
from jobs.executors import Executors
from jobs.painter import Painter
from jobs.queue import Queue
from jobs.records import Job
from settings import load_settings

SECONDS_A_STEP = 0.02


def paint(job: Job, checkpoint: bytes | None) -> Generator[Frame, None, None]:
    """A disc that grows out of a colour that the prompt chooses."""
    steps = job.parameters["steps"]
    height, width = job.parameters["height"], job.parameters["width"]
    rng = np.random.default_rng(sum(job.prompt.encode()))
    ground, ink = rng.integers(0, 256, (2, 3))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    for step in range(steps + 1):
        inside = np.hypot(x, y) < 0.2 + 0.6 * step / max(steps, 1)
        image = np.where(inside[..., None], ink, ground).astype(np.uint8)
        yield Frame(image, step, steps, {"loss": 1 / (1 + step), "fit": 1 - 1 / (1 + step)})
        time.sleep(SECONDS_A_STEP)


def main() -> None:
    settings = load_settings()
    db.migrate(settings.database_url)
    engine = db.open_engine(settings.database_url)
    queue = Queue(
        engine,
        lease_seconds=settings.queue.lease_seconds,
        max_attempts=settings.queue.max_attempts,
        max_waiting_per_person=settings.queue.max_waiting_per_person,
    )
    executor = Executor(
        queue,
        Executors(engine, alive_seconds=settings.queue.lease_seconds),
        ArtifactStore(settings.artifact_url),
        Painter(paint, lambda job: job.spec),
        settings.executor,
        device="cpu",
        threads=1,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    executor.run(stop)


if __name__ == "__main__":
    main()
