"""litequeue, which runs on SQLite; it keeps no results, only that a job is done."""

import json
import time

from litequeue import LiteQueue
from sqlalchemy import make_url

from benchmarks.queue_speed.contender import SPEC, TakeUp

_MESSAGE = json.dumps({"generator": "vqgan_clip", "submitter": "person-1", **SPEC})
_PAUSE = {False: 0.1, True: 0.001}
"""It has no way of waiting: a second of idleness is ten looks, and at best a thousand."""


class Litequeue:
    """Told to flush every commit, which it does not by itself."""

    name = "litequeue"

    def __init__(self, url: str) -> None:
        self._queue = LiteQueue(make_url(url).database, timeout=60)
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    @classmethod
    def create(cls, url: str) -> None:
        cls(url)._queue.close()

    @classmethod
    def fill(cls, url: str, count: int) -> None:
        rows = ((_MESSAGE, f"0-{number:09}") for number in range(count))
        queue = cls(url)._queue
        with queue.transaction():
            queue.conn.executemany(
                f"INSERT INTO {queue.table} (data, message_id, status, in_time) VALUES (?, ?, 0, 0)", rows
            )
        queue.close()

    def enqueue(self) -> object:
        return self._queue.put(_MESSAGE)

    def claim(self) -> object:
        return self._queue.pop()

    def finish(self, claimed: object) -> object:
        return self._queue.done(claimed.message_id)  # type: ignore[attr-defined]

    def serve(self, take_up: TakeUp, *, eager: bool) -> None:
        while True:
            if self._queue.pop() is not None:
                take_up()
            time.sleep(_PAUSE[eager])
