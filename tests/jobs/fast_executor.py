"""A real executor process with a fast painter: ``python fast_executor.py <key=value settings>``.

The picture is a drifting field of numbers, each step of which depends on all before it, so that a resumed
job is only right when its checkpoint was. The job's parameters steer it: ``seed``, ``steps``, ``size``
(pixels), ``pause`` (seconds a step) and ``trouble``: "hopeless", "bug" or "deadly" at half of the steps.
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import db
import logs
from jobs.executor import Executor
from jobs.executors import Executors
from jobs.painter import Painter
from jobs.queue import Queue
from jobs.records import Job
from jobs.upkeep import Upkeep
from settings import Settings, load_settings
from store import ArtifactStore


@dataclass(frozen=True)
class FastFrame:
    image: np.ndarray
    step: int
    steps: int
    numbers: Mapping[str, float]
    checkpoint: Callable[[], bytes] | None


class Hopeless(Exception):
    pass


def paint(job: Job, resume: bytes | None) -> Generator[FastFrame, None, None]:
    size, steps = job.parameters.get("size", 24), job.parameters["steps"]
    start, field = 0, np.zeros((size, size, 3))
    if resume is not None:
        saved = np.load(io.BytesIO(resume))
        start, field = int(saved["step"]) + 1, saved["field"]
    for step in range(start, steps + 1):
        noise = np.random.default_rng([job.parameters["seed"], step])
        field = 0.8 * field + noise.normal(size=field.shape)
        image = np.clip(128 + 40 * field, 0, 255).astype(np.uint8)
        yield FastFrame(image, step, steps, {"mean": float(field.mean())}, lambda: dump(step, field))  # noqa: B023
        if "trouble" in job.parameters and step >= steps // 2:
            get_into(job.parameters["trouble"])
        threading.Event().wait(job.parameters.get("pause", 0.01))  # libfaketime breaks time.sleep


def get_into(trouble: str) -> None:
    if trouble == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    raise {"hopeless": Hopeless, "bug": RuntimeError}[trouble]("No such luck.")


def dump(step: int, field: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, step=step, field=field)
    return file.getvalue()


def recipe(job: Job) -> dict[str, Any]:
    return {"generator": job.generator, "spec": job.spec}


def open_queue(settings: Settings) -> Queue:
    return Queue(db.open_engine(settings.database_url), **vars(settings.queue))


def open_executor(settings: Settings) -> Executor:
    engine = db.open_engine(settings.database_url)
    store = ArtifactStore(settings.artifact_url, settings.artifact_options)
    return Executor(
        open_queue(settings),
        Executors(engine, alive_seconds=settings.queue.lease_seconds),
        store,
        Painter(paint, recipe, hopeless=(Hopeless,)),
        settings.executor,
        device="cpu",
        threads=1,
        upkeep=Upkeep(engine, store, settings.retention.keep_days),
    )


def main() -> None:
    settings = load_settings(sys.argv[1:])
    logs.start(settings.log_format)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    open_executor(settings).run(stop)


if __name__ == "__main__":
    main()
