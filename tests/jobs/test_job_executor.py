"""The executor with the real studio: what it says it can draw, and that it draws it."""

import shutil
import threading
from pathlib import Path

import db
import job_executor
from generators import registry
from jobs.executors import Executors
from jobs.queue import Queue
from jobs.records import JobState
from tests.jobs.processes import load, quick_settings, wait_until
from weights import catalogue

NAME = "sandbox"


def test_a_running_executor_draws_with_a_set_as_soon_as_it_is_installed(
    tmp_path: Path, database_url: str
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    settings = load(quick_settings(tmp_path, f"database_url={database_url}", f"weights_dir={folder}"))
    engine = db.open_engine(database_url)
    queue, executors = Queue(engine, **vars(settings.queue)), Executors(engine, alive_seconds=30)
    asked = {"prompt": "a red circle", "weights": NAME, "width": 64, "height": 64, "steps": 1, "cutouts": 1}
    spec = registry.parse_spec("vqgan_clip", asked)
    job = queue.enqueue(
        "vqgan_clip", spec.model_dump(mode="json"), submitter="ann", needs_memory=registry.least_memory(spec)
    )
    stop = threading.Event()
    thread = threading.Thread(target=job_executor.open_executor(settings, engine).run, args=[stop])
    thread.start()
    try:
        wait_until(lambda: queue.position(job.id).obstacle is not None, "the executor says what it has")
        assert f"has the weights '{NAME}'" in (queue.position(job.id).obstacle or "")
        assert [executor.able.weights for executor in executors.alive()] == [frozenset()]
        install(NAME, folder)
        wait_until(lambda: queue.get(job.id).state.is_final, "it has drawn the job")
        wait_until(lambda: executors.alive()[0].able.loaded == {NAME}, "it tells what it has loaded")
    finally:
        stop.set()
        thread.join()

    assert queue.get(job.id).error is None
    assert queue.get(job.id).state is JobState.SUCCEEDED


def install(name: str, folder: Path) -> None:
    """Put the files of a shipped set where the executor looks for them, each whole at once."""
    for file in catalogue.entry(name).files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(registry.DEFAULT_WEIGHTS / file.path, folder / f"{file.path}.part")
        (folder / f"{file.path}.part").rename(folder / file.path)
