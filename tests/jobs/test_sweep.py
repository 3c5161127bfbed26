"""What the sweep removes and what it never does, with real files."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

import db
from db.tables import jobs, presets
from jobs import sweep as sweeping
from jobs.__main__ import main
from jobs.gallery import Gallery
from jobs.presets import Preset, Presets
from jobs.queue import Queue
from jobs.records import Job, JobState, Result
from jobs.sweep import SLOWEST_WRITE, UPLOADS_STAY, Kind, sweep
from settings import ROOT
from store import ArtifactStore
from tests.conftest import everywhere
from tests.jobs.processes import load, quick_settings, wait_until
from tests.jobs.test_executor import working

WORK = ["live/000001.jpg", "frames/000001.png", "checkpoint/000001"]
KEPT = ["picture.png", "animation.gif", "frames.zip", "animation.mp4", "animation.webp"]
OLD = {"aside": SLOWEST_WRITE, "jobs": SLOWEST_WRITE, "uploads": UPLOADS_STAY}


class World:
    """A queue and a store, and what must be there after a sweep."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.store = ArtifactStore(str(folder))
        self.queue = Queue(engine, lease_seconds=100, max_attempts=3, max_waiting_per_person=10_000)
        self.needed: set[str] = set()
        self.unneeded: set[str] = set()
        self._count = 0

    def add(self, thing: str, age: str) -> None:
        self._count += 1
        getattr(self, f"_add_{thing}")(age)

    def names(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}

    def _put(self, names: list[str], age: str, *, needed: bool) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(name)
            then = time.time() - OLD[name.split("/")[0]].total_seconds() + (60 if age == "young" else -60)
            os.utime(self.folder / name, (then, then))
        (self.needed if needed else self.unneeded).update(names)

    def _ask(self, **parameters: object) -> Job:
        spec = {"prompt": "noise", "weights": "none", **parameters}
        return self.queue.enqueue("numpy", spec, submitter="ann")

    def _files(self, job: Job, files: list[str]) -> list[str]:
        return [f"jobs/{job.id}/{file}" for file in files]

    def _add_waiting_job(self, age: str) -> None:
        self._put(self._files(self._ask(), WORK), age, needed=True)

    def _add_running_job(self, age: str) -> None:
        job = self._ask()
        self.queue.claim("executor", job_id=job.id)
        self._put(self._files(job, WORK + KEPT), age, needed=True)

    def _add_succeeded_job(self, age: str) -> None:
        job = self._ask()
        claim = self.queue.claim("executor", job_id=job.id)
        self._put(self._files(job, KEPT), age, needed=True)
        self._put(self._files(job, [*WORK, "stray.txt"]), age, needed=False)
        image, animation = self._files(job, KEPT[:2])
        self.queue.finish(claim, Result(image, animation, 1.0, {}, 8, 8))

    def _add_failed_job(self, age: str) -> None:
        job = self._ask()
        self._put(self._files(job, WORK + KEPT), age, needed=False)
        self.queue.fail(self.queue.claim("executor", job_id=job.id), "No such luck.")

    def _add_cancelled_job(self, age: str) -> None:
        job = self._ask()
        self._put(self._files(job, WORK), age, needed=False)
        self.queue.cancel(job.id)

    def _add_deleted_job(self, age: str) -> None:
        self._put([f"jobs/gone{self._count}/{file}" for file in WORK + KEPT], age, needed=False)

    def _add_sample_without_row(self, age: str) -> None:
        self._put([f"jobs/sample-{self._count}/picture.png"], age, needed=age == "young")

    def _add_half_written_file(self, age: str) -> None:
        self._put([f"aside/{self._count:016x}"], age, needed=age == "young")

    def _add_unused_upload(self, age: str) -> None:
        self._put([upload(self._reference())], age, needed=age == "young")

    def _add_upload_of_a_job(self, age: str) -> None:
        self._ask(start_image=self._reference())
        self._put([upload(self._reference())], age, needed=True)

    def _add_upload_of_an_ended_job(self, age: str) -> None:
        self.queue.cancel(self._ask(images=["", self._reference()], start_image=None).id)
        self._put([upload(self._reference())], age, needed=True)

    def _add_upload_of_a_preset(self, age: str) -> None:
        kept = Preset(str(self._count), "numpy", "none", {"mask": {"image": self._reference()}})
        Presets(self.engine).save(f"person {self._count}", kept)
        self._put([upload(self._reference())], age, needed=True)

    def _reference(self) -> str:
        return hashlib.sha256(str(self._count).encode()).hexdigest()


THINGS = [name.removeprefix("_add_") for name in vars(World) if name.startswith("_add_")]


def upload(reference: str) -> str:
    return f"uploads/{reference}.png"


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('sweep')}/studio.db"
    db.migrate(url)
    engine = db.open_engine(url)
    yield engine
    engine.dispose()


@given(st.lists(st.tuples(st.sampled_from(THINGS), st.sampled_from(["young", "old"])), max_size=14))
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_nothing_that_is_named_goes_and_nothing_that_nobody_names_stays(
    shared_engine: Engine, tmp_path_factory: pytest.TempPathFactory, things: list[tuple[str, str]]
) -> None:
    with db.writing(shared_engine, lasting=False) as connection:
        connection.execute(delete(jobs))
        connection.execute(delete(presets))
    world = World(shared_engine, tmp_path_factory.mktemp("artifacts"))
    for thing, age in things:
        world.add(thing, age)
    assert world.names() == world.needed | world.unneeded

    announced = sweep(world.engine, world.store, dry_run=True)
    assert world.names() == world.needed | world.unneeded, "a dry run removes nothing"
    found = sweep(world.engine, world.store)

    assert found == announced
    assert found.missing == []
    assert {file.name for files in found.orphans.values() for file in files} == world.unneeded
    assert world.names() == world.needed
    assert sum(map(len, sweep(world.engine, world.store).orphans.values())) == 0


def test_results_without_their_files_are_told_and_left(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path / "artifacts")
    world.add("succeeded_job", "old")
    (job,) = Gallery(engine, world.store).search().items
    assert job.result is not None
    world.store.delete(job.result.animation)

    assert sweep(engine, world.store).missing == [job.result.animation]
    assert Gallery(engine, world.store).search().items == [job]


@everywhere
def test_leftovers_go_from_every_kind_of_store(
    engine: Engine, store: ArtifactStore, succeed: Callable[..., Job]
) -> None:
    job = succeed()
    assert job.result is not None
    lost = store.publish(job.id, "live/000001.jpg", b"four")
    nobodys = [store.publish("gone", name, b"three") for name in ("frames/1.png", "picture.png")]
    young = [upload("0" * 64), "aside/0123"]
    for name in young:
        store.put(name, b"")

    found = sweep(engine, store)

    assert [file.name for file in found.orphans[Kind.OF_ENDED_JOB]] == [lost]
    assert [file.name for file in found.orphans[Kind.OF_NO_JOB]] == nobodys
    assert [file.name for file in store.files("jobs")] == [job.result.animation, job.result.image]
    assert all(store.exists(name) for name in young)


def test_what_is_published_while_it_runs_stays(
    engine: Engine,
    queue: Queue,
    store: ArtifactStore,
    ask: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the listing and the database, and between the database and the removal."""
    failed = ask()
    queue.fail(queue.claim("executor"), "No such luck.")
    rewritten = store.publish(failed.id, "frames/000000.png", b"first")
    late: list[str] = []
    asking = sweeping._jobs

    def ask_late(engine: Engine, ids: list[str]) -> object:
        answer = asking(engine, ids)
        store.publish(failed.id, "frames/000000.png", b"second")
        return answer

    def list_late(folder: str) -> object:
        files = ArtifactStore.files(store, folder)
        late.append(store.publish(ask().id, "picture.png", b"png"))
        return files

    monkeypatch.setattr(sweeping, "_jobs", ask_late)
    monkeypatch.setattr(store, "files", list_late)

    sweep(engine, store)

    assert store.read(rewritten) == b"second"
    assert all(store.exists(name) for name in late)


def test_an_upload_that_is_asked_for_while_it_runs_stays(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(engine, tmp_path / "artifacts")
    for _ in range(3):
        world.add("unused_upload", "old")
    asked, handed_in_again, unused = sorted(world.unneeded)
    looking = sweeping._references

    def look_and_ask(engine: Engine, after: int = 0) -> object:
        answer = looking(engine, after)
        if after == 0:
            world._ask(start_image=asked.removeprefix("uploads/").removesuffix(".png"))
            world.store.put(handed_in_again, world.store.read(handed_in_again))
        return answer

    monkeypatch.setattr(sweeping, "_references", look_and_ask)

    sweep(engine, world.store)

    assert world.names() == {asked, handed_in_again}


def test_sweeping_all_the_while_disturbs_no_job(tmp_path: Path) -> None:
    arguments = quick_settings(tmp_path, "queue.max_attempts=1", "queue.lease_seconds=30")
    options = load(arguments)
    db.migrate(options.database_url)
    engine, store = db.open_engine(options.database_url), ArtifactStore(options.artifact_url)
    queue = Queue(engine, **vars(options.queue))
    spec = {"prompt": "noise", "weights": "none", "size": 24, "steps": 6, "pause": 0.02}
    asked = [queue.enqueue("numpy", {**spec, "seed": seed}, submitter="ann") for seed in range(3)]
    sweeps = 0
    with working(arguments):
        while any(not queue.get(job.id).state.is_final for job in asked):
            assert sweep(engine, store).missing == []
            sweeps += 1
        wait_until(lambda: queue.leftovers() == [], "the working files are removed")

    assert sweeps > 1
    assert {queue.get(job.id).state for job in asked} == {JobState.SUCCEEDED}
    assert sum(map(len, sweep(engine, store).orphans.values())) == 0
    engine.dispose()


def test_from_a_terminal_it_prints_a_table_and_leaves_with_1_when_files_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/studio.db"
    db.migrate(url)
    engine = db.open_engine(url)
    world = World(engine, tmp_path / "artifacts")
    for thing in ("succeeded_job", "deleted_job", "half_written_file"):
        world.add(thing, "old")

    dry = run_sweep(tmp_path, "--dry-run")
    wet = run_sweep(tmp_path)

    assert (dry.returncode, wet.returncode) == (0, 0)
    assert dry.stdout.replace("would remove", "removed     ") == wet.stdout
    figures = {line[:34].strip(): line[34:].split() for line in wet.stdout.splitlines()}
    total = sum(len(name) for name in world.unneeded)
    assert figures["all"] == [str(len(world.unneeded)), str(total)]
    assert figures[Kind.ASIDE] == ["1", str(len("aside/") + 16)]
    assert figures["missing, though results name it"] == ["0"]
    (job,) = Gallery(engine, world.store).search().items
    assert job.result is not None
    world.store.delete(job.result.image)
    assert main(["sweep", f"data_dir={tmp_path}"]) == 1
    assert job.result.image in capsys.readouterr().out
    assert main(["sweep", "nonsense=1"]) == 2
    assert "nonsense" in capsys.readouterr().err
    engine.dispose()


def run_sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs", "sweep", *arguments]
    environment = {**os.environ, "STUDIO_DATA_DIR": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
