"""The studio's queue, on SQLite and on PostgreSQL."""

import random
import threading

from sqlalchemy import String, cast, func, insert, literal, select

import db
from benchmarks.queue_speed.contender import RESULT, SPEC, SUBMITTERS, TakeUp
from db import tables
from jobs.clock import utc_now
from jobs.queue import Queue
from jobs.records import Claim, Result
from settings import ExecutorSettings


class Studio:
    """As an executor that draws anything uses it. It has no better setting than its own."""

    name = "studio"

    def __init__(self, url: str) -> None:
        engine = db.open_engine(url, busy_seconds=60)
        self._queue = Queue(engine, lease_seconds=60, max_attempts=3, max_waiting_per_person=1000)

    @classmethod
    def create(cls, url: str) -> None:
        db.migrate(url)

    @classmethod
    def fill(cls, url: str, count: int) -> None:
        n = select(literal(0).label("i")).cte("n", recursive=True)
        n = n.union_all(select(n.c.i + 1).where(n.c.i < count - 1))
        person = literal("person-") + cast(n.c.i % SUBMITTERS, String)
        parameters = {name: value for name, value in SPEC.items() if name not in ("prompt", "weights")}
        row = {
            "id": literal("filler-") + cast(n.c.i, String),
            "generator": literal("vqgan_clip"),
            "weights": literal(SPEC["weights"]),
            "prompt": literal(SPEC["prompt"]),
            "parameters": literal(parameters, tables.jobs.c.parameters.type),
            "submitter": person,
            "state": literal("queued"),
            "priority": literal(0),
            "turn": 2 * (n.c.i // SUBMITTERS) + 1,
            "attempts": literal(0),
            "max_attempts": literal(3),
            "created_at": literal(utc_now(), tables.jobs.c.created_at.type),
            "cancel_requested": literal(False),
            "untidy": literal(False),
        }
        lines = select(literal(0), tables.jobs.c.submitter, func.max(tables.jobs.c.turn))
        lines = lines.group_by(tables.jobs.c.submitter)
        engine = db.open_engine(url)
        with db.writing(engine) as connection:
            connection.execute(insert(tables.jobs).from_select(list(row), select(*row.values())))
            connection.execute(insert(tables.lines).from_select(["priority", "submitter", "given"], lines))
        engine.dispose()

    def enqueue(self) -> object:
        person = f"person-{random.randrange(SUBMITTERS)}"
        return self._queue.enqueue("vqgan_clip", SPEC, submitter=person)

    def claim(self) -> object:
        return self._queue.claim("executor")

    def finish(self, claimed: object) -> object:
        assert isinstance(claimed, Claim)
        return self._queue.finish(claimed, Result(**RESULT))

    def serve(self, take_up: TakeUp, *, eager: bool) -> None:
        """As ``jobs.executor.Executor`` does."""
        wakeup, never = self._queue.wakeup(), threading.Event()
        while True:
            if self._queue.claim("executor") is not None:
                take_up()
            else:
                wakeup.wait(never, ExecutorSettings.poll_seconds)
