"""procrastinate, which runs on PostgreSQL; it keeps no results, only that a job succeeded."""

import asyncio
from functools import cached_property
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.jobs import Job, JobDeferrer, Status
from procrastinate.manager import JobManager
from psycopg.types.json import Jsonb
from sqlalchemy import make_url

from benchmarks.queue_speed.contender import SPEC, TakeUp

_FILL = (
    "SET session_replication_role = replica",  # without it each row would be told to listeners
    "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
    " SELECT 'default', 'draw', %(spec)s FROM generate_series(1, %(count)s)",
    "INSERT INTO procrastinate_events (job_id, type) SELECT id, 'deferred' FROM procrastinate_jobs",
)


class Procrastinate:
    """Jobs are asked for by its synchronous way; its workers are asynchronous, with a loop each."""

    name = "procrastinate"

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: dict[str, Any] = {"conninfo": _address(url), "min_size": 1, "max_size": 1}
        self._loop = asyncio.new_event_loop()

    @cached_property
    def _draw(self) -> JobDeferrer:
        asking = App(connector=SyncPsycopgConnector(**self._pool))
        asking.open()
        return asking.configure_task("draw", queue="default")

    @cached_property
    def _manager(self) -> JobManager:
        working = App(connector=PsycopgConnector(**self._pool))
        self._loop.run_until_complete(working.open_async())
        return working.job_manager

    @cached_property
    def _worker(self) -> int:
        return self._loop.run_until_complete(self._manager.register_worker())

    @classmethod
    def create(cls, url: str) -> None:
        with App(connector=SyncPsycopgConnector(conninfo=_address(url))).open() as app:
            app.schema_manager.apply_schema()

    @classmethod
    def fill(cls, url: str, count: int) -> None:
        with psycopg.connect(_address(url)) as connection:
            for statement in _FILL:
                values = {"spec": Jsonb(SPEC), "count": count} if "%" in statement else None
                connection.execute(statement, values)

    def enqueue(self) -> object:
        return self._draw.defer(**SPEC)

    def claim(self) -> object:
        return self._loop.run_until_complete(self._manager.fetch_job(None, self._worker))

    def finish(self, claimed: object) -> object:
        assert isinstance(claimed, Job)
        done = self._manager.finish_job(claimed, Status.SUCCEEDED, delete_job=False)
        return self._loop.run_until_complete(done)

    def serve(self, take_up: TakeUp, *, eager: bool) -> None:
        """By its worker, which PostgreSQL wakes: it has no better setting."""
        app = App(connector=PsycopgConnector(conninfo=_address(self._url)))

        @app.task(name="draw")
        def draw(**_spec: object) -> None:
            take_up()

        async def work() -> None:
            async with app.open_async():
                await app.run_worker_async(install_signal_handlers=False)

        self._loop.run_until_complete(work())


def _address(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
