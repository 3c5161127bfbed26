"""The executor: one process, one device. Run: ``python job_executor.py [executor.device=cuda:1 ...]``.

It takes jobs from the queue until SIGTERM or SIGINT, then hands the job in work back and leaves with 0.
It leaves with 2 when what it was told cannot be used, with 1 when the database or the store cannot.
"""

import importlib.metadata
import platform
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine

import db
import logs
from generators import registry, shelf
from generators.contract import Context, Frame, GenerationError
from generators.machine import memory_of
from jobs.executor import Executor
from jobs.executors import Executors
from jobs.painter import Painter
from jobs.queue import Queue
from jobs.records import Capabilities, Job
from jobs.upkeep import Upkeep
from jobs.uploads import Uploads
from settings import Settings, SettingsError, load_settings
from store import ArtifactStore, StoreError
from weights import catalogue
from weights.files import is_installed, known_hashes

_VERSIONS_OF = ("torch", "numpy", "pillow", "transformers")


def main(arguments: list[str]) -> int:
    """Run an executor; returns the exit status."""
    try:
        settings = load_settings(arguments)
        logs.start(settings.log_format)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        db.migrate(settings.database_url)
        open_executor(settings, db.open_engine(settings.database_url)).run(stop)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (db.DatabaseError, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def open_executor(settings: Settings, engine: Engine) -> Executor:
    """An executor of the registry's generators. Raises SettingsError, StoreError."""
    if settings.executor.threads > 0:
        torch.set_num_threads(settings.executor.threads)
    device = _choose_device(settings.executor.device)
    store = ArtifactStore(settings.artifact_url, settings.artifact_options)
    return Executor(
        Queue(engine, **vars(settings.queue)),
        Executors(engine, alive_seconds=settings.queue.lease_seconds),
        store,
        _painter(device, Path(settings.weights_dir), Uploads(store)),
        settings.executor,
        device=device,
        threads=torch.get_num_threads(),
        upkeep=Upkeep(engine, store, settings.retention.keep_days),
    )


def _choose_device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"The device '{wanted}' cannot be used here: set executor.device to auto, cpu or cuda:0."
        ) from error
    return wanted


def _painter(device: str, weights_dir: Path, uploads: Uploads) -> Painter:
    def generate(job: Job, resume: bytes | None) -> Generator[Frame, None, None]:
        spec = registry.parse_spec(job.generator, job.spec, weights_dir)
        context = Context(device, weights_dir, resume, uploads.pixels, memory_of(device).free)
        yield from registry.load(job.generator)(spec, context)

    def recipe(job: Job) -> Mapping[str, Any]:
        return {
            "generator": job.generator,
            "spec": job.spec,
            "device": device.partition(":")[0],
            "threads": torch.get_num_threads(),
            "weights_sha256": _hashes(job.weights, weights_dir),
            "versions": _versions(),
        }

    def able() -> Capabilities:
        there = (e.name for e in catalogue.entries() if e.generators and is_installed(e, weights_dir))
        return Capabilities(frozenset(there), shelf.loaded(weights_dir, device), memory_of(device).whole)

    return Painter(generate, recipe, able, hopeless=(GenerationError, registry.SpecError))


@cache
def _versions() -> dict[str, str]:
    own = {"python": platform.python_version()}
    return own | {package: importlib.metadata.version(package) for package in _VERSIONS_OF}


def _hashes(weights: str, weights_dir: Path) -> dict[str, str | None]:
    """SHA-256 of every file of the set of weights; that they have it was verified before drawing."""
    return known_hashes(catalogue.entry(weights), weights_dir)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
