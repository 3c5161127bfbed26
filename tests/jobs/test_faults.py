"""What a studio stands on fails and is mended: every job ends rightly, and every file is whole.

Others are tested beside what they hit: executors killed and frozen past their lease in ``test_kill.py``;
PostgreSQL restarted and SQLite locked in ``test_outages.py``, the network cut in ``test_cut_off.py``; a full
disk for artifacts and an object store killed in ``test_executor.py``; uploads that break off in
``test_artifacts.py``; how the queue tells the time in ``test_promises.py``.
"""

import os
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import pytest

import db
from jobs.clock import utc_now
from jobs.records import Job, JobState
from store import ArtifactStore
from tests.conftest import on_sqlite
from tests.jobs.conftest import outcomes
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import executor, load, quick_settings, wait_until
from tests.jobs.wholeness import check_whole
from tests.object_store import ObjectStore

JOBS = 3
IMPATIENT = [
    f"artifact_options.config_kwargs.{setting}"
    for setting in ("connect_timeout=2", "read_timeout=2", "retries.max_attempts=1", "signature_version=s3v4")
]
"""As the house has it, only less patient."""

FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "executor.log"


class Studio:
    """The queue and the store of the processes that run with ``arguments``."""

    def __init__(self, arguments: list[str]) -> None:
        settings = load(arguments)
        db.migrate(settings.database_url)
        self.arguments = arguments
        self.engine = db.open_engine(settings.database_url)
        self.queue = open_queue(settings)
        self.store = ArtifactStore(settings.artifact_url, settings.artifact_options)

    def ask(self, steps: int = 20, pause: float = 0.02, seed: int = 1) -> Job:
        spec = {"prompt": "noise", "weights": "none", "size": 24, "steps": steps, "pause": pause}
        return self.queue.enqueue("numpy", spec | {"seed": seed}, submitter="ann")

    def step_of(self, job: Job) -> int:
        progress = self.queue.get(job.id).progress
        return -1 if progress is None else progress.step

    def days_off(self, job: Job) -> int:
        """By how many days the clock of whoever draws the job is fast."""
        progress = self.queue.get(job.id).progress
        assert progress is not None
        return round((progress.updated_at - utc_now()) / timedelta(days=1))

    def all_succeed(self, jobs: list[Job]) -> None:
        wait_until(lambda: all(self.queue.get(job.id).state.is_final for job in jobs), "all jobs have ended")
        assert {self.queue.get(job.id).state for job in jobs} == {JobState.SUCCEEDED}
        wait_until(lambda: self.queue.leftovers() == [], "the working files are removed")


@pytest.mark.parametrize("small_disk", [16], indirect=True)
def test_a_full_disk_under_the_database_costs_no_job(tmp_path: Path, small_disk: Path, log: Path) -> None:
    studio = Studio(quick_settings(tmp_path, f"database_url=sqlite:///{small_disk}/studio.db"))
    ballast = small_disk / "ballast"
    jobs = [studio.ask(seed=seed) for seed in range(JOBS)]
    with executor(studio.arguments, log):
        wait_until(lambda: studio.step_of(jobs[0]) >= 3, "the first job is under way")
        fill(ballast)
        wait_until(lambda: "is full: free some space" in log.read_text(), "the executor is told")
        with pytest.raises(db.DatabaseError, match="is full: free some space"):
            studio.queue.enqueue_all("numpy", [jobs[0].spec] * 500, submitter="bob")
        ballast.unlink()
        studio.all_succeed(jobs)

    assert studio.queue.search(per_page=1000).total == JOBS
    check_whole(studio.engine, studio.store)


def fill(file: Path) -> None:
    """Take all the space that is left."""
    with file.open("wb", buffering=0) as growing, suppress(OSError):
        while True:
            growing.write(bytes(4096))


@on_sqlite
def test_an_object_store_that_hangs_and_wakes_costs_no_job(
    object_store: ObjectStore, tmp_path: Path, database_url: str, log: Path
) -> None:
    place = object_store.settings(object_store.place())
    studio = Studio(quick_settings(tmp_path, f"database_url={database_url}", *place, *IMPATIENT))
    jobs = [studio.ask(seed=seed) for seed in range(JOBS)]
    with executor(studio.arguments, log):
        wait_until(lambda: studio.step_of(jobs[0]) >= 3, "the first job is under way")
        with object_store.hanging():
            wait_until(
                lambda: "takes no jobs until this is mended" in log.read_text(), "the executor is told"
            )
            wait_until(lambda: studio.queue.counts().running == 0, "the job is handed back")
        studio.all_succeed(jobs)

    assert [outcomes(studio.engine, job.id) for job in jobs] == [["handed back"], [], []]
    check_whole(studio.engine, studio.store)


def test_a_clock_that_jumps_under_an_executor_costs_no_job(
    tmp_path: Path, database_url: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another executor, whose clock is right, takes nothing from it."""
    studio = Studio(quick_settings(tmp_path, f"database_url={database_url}", "queue.lease_seconds=20"))
    clock = tmp_path / "clock"
    long_one = studio.ask(steps=20_000, pause=0.02)
    with ExitStack() as stack:
        with monkeypatch.context() as environment:
            for name, value in told_the_time_by(clock).items():
                environment.setenv(name, value)
            stack.enter_context(executor(studio.arguments, log))
        wait_until(lambda: studio.step_of(long_one) >= 3, "the long job is under way")
        stack.enter_context(executor(studio.arguments, tmp_path / "right.log"))
        for days in (400, -800, 0):
            set_clock(clock, days)
            wait_until(lambda days=days: studio.days_off(long_one) == days, f"its clock is {days} days off")
            jobs = [studio.ask(seed=seed) for seed in range(JOBS)]
            studio.all_succeed(jobs)
            assert {studio.queue.get(job.id).attempts for job in jobs} == {1}
        assert studio.queue.get(long_one.id).state is JobState.RUNNING, "no jump came after its end"
        studio.queue.cancel(long_one.id)
        wait_until(lambda: studio.queue.get(long_one.id).state.is_final, "the long job has ended")
        wait_until(lambda: studio.queue.leftovers() == [], "the working files are removed")

    assert outcomes(studio.engine, long_one.id) == []
    check_whole(studio.engine, studio.store)


def told_the_time_by(clock: Path) -> dict[str, str]:
    """The environment of a process whose time of day, but not the time that passes, is the file's."""
    if not FAKETIME.exists():
        pytest.fail("needs libfaketime: run ./set_up_env.sh --install-only --dev, which installs it")
    set_clock(clock, 0)
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def set_clock(clock: Path, days: int) -> None:
    aside = clock.with_suffix(".aside")
    aside.write_text(f"{days:+d}d")
    aside.rename(clock)
