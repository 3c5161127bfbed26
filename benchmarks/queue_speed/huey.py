"""huey's storages; a task and a result are JSON of what the studio keeps in columns."""

import itertools
import json
import os
import threading
from types import SimpleNamespace
from typing import Any

import psycopg
from huey.consumer import Worker
from huey.storage import BaseSqlStorage, PostgresStorage, SqliteStorage
from sqlalchemy import make_url

from benchmarks.queue_speed.contender import RESULT, SPEC, TakeUp

_TASK = json.dumps({"generator": "vqgan_clip", "submitter": "person-1", **SPEC}).encode()
_RESULT = json.dumps(RESULT).encode()
_USUAL = (0.1, 10.0, 1.15)
"""The consumer's default: the first delay, the longest one, both in seconds, and how it grows."""
_EAGER = (0.001, 0.001, 1.0)


class Huey:
    """``strict_fifo`` and ``fsync`` give what the studio promises; every commit is flushed."""

    name = "huey"

    def __init__(self, url: str) -> None:
        self._url = url
        self._storage: BaseSqlStorage = _storage(url, blocking=False)
        self._numbers = itertools.count()

    @classmethod
    def create(cls, url: str) -> None:
        _storage(url, blocking=False).close()

    @classmethod
    def fill(cls, url: str, count: int) -> None:
        storage = _storage(url, blocking=False)
        if isinstance(storage, SqliteStorage):
            rows = itertools.repeat((storage.name, _TASK, 0), count)
            with storage.db(commit=True) as cursor:
                cursor.executemany("insert into task (queue, data, priority) values (?, ?, ?)", rows)
        else:
            with psycopg.connect(_address(url)) as connection:
                connection.execute(
                    "insert into huey_task (queue, data) select %s, %s from generate_series(1, %s)",
                    (storage.name, _TASK, count),
                )
        storage.close()

    def enqueue(self) -> object:
        return self._storage.enqueue(_TASK)

    def claim(self) -> object:
        return self._storage.dequeue()

    def finish(self, claimed: object) -> object:
        key = f"task-{os.getpid()}-{next(self._numbers)}"
        return self._storage.put_data(key, _RESULT, is_result=True)

    def serve(self, take_up: TakeUp, *, eager: bool) -> None:
        """By its worker; PostgreSQL wakes it, SQLite it asks after a delay that grows while it is idle."""
        storage = _storage(self._url, blocking=True)
        delays = _EAGER if eager else _USUAL
        shown = SimpleNamespace(
            storage=storage, dequeue=storage.dequeue, execute=lambda task, now: take_up(), _startup={}
        )
        worker = Worker(shown, threading.Event(), *delays)
        while True:
            worker.loop()


def _storage(url: str, *, blocking: bool) -> Any:
    if make_url(url).get_backend_name() == "sqlite":
        return SqliteStorage(filename=make_url(url).database, fsync=True, strict_fifo=True, timeout=60)
    return PostgresStorage(dsn=_address(url), blocking=blocking)


def _address(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
