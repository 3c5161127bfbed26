"""The queue beside huey's SQLite storage: throughput and claim latency at equal durability.

Run on an idle machine: ``python -m benchmarks.queue_speed [--jobs 300] [--folder data]``.

All run in one process on one disk, in turns of a few jobs each. A job's way is three commits: asked for,
taken, result kept. huey flushes each to the disk (``synchronous = FULL``), and so does "studio, strict", a
studio told to. The studio as it is flushes what people were told, the first and the last; a claim that a
power cut undoes leaves the job waiting, where a task that huey has handed out would be gone. The ratios are
huey's milliseconds by ours: above 1, ours is faster.
"""

import argparse
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Protocol

from huey.storage import SqliteStorage
from sqlalchemy import insert

import db
from db import tables
from db.engine import SYNCHRONOUS
from jobs.clock import utc_now
from jobs.queue import Queue
from jobs.records import Claim, Result

WAITING = (10, 100_000)
SUBMITTERS = 1000
TURN = 25
SPEC = {
    "prompt": "a red circle on a blue background",
    "weights": "sandbox",
    "seed": 1,
    "width": 128,
    "steps": 60,
}
RESULT = Result("picture.png", "animation.gif", 7.5, {"score": 0.9}, 128, 128)


class Contender(Protocol):
    """A queue under test. ``claim_pragmas`` tells how a claim is kept."""

    name: str
    claim_pragmas: str

    def fill(self, count: int) -> None: ...
    def enqueue(self, number: int) -> None: ...
    def claim(self) -> object: ...
    def finish(self, claimed: object) -> None: ...


class Ours:
    """The studio's queue."""

    def __init__(self, folder: Path, *, strict: bool) -> None:
        self.name = "studio, strict" if strict else "studio"
        url = f"sqlite:///{folder}/{self.name}.db"
        db.migrate(url)
        self._engine = db.open_engine(url)
        self._kept = "FULL" if strict else SYNCHRONOUS["passing"]
        self._queue = Queue(self._engine, lease_seconds=60, max_attempts=3, max_waiting_per_person=1_000_000)
        with self._as_told(), db.writing(self._engine, lasting=False) as connection:
            self.claim_pragmas = _pragmas(lambda sql: connection.exec_driver_sql(sql).scalar())

    def fill(self, count: int) -> None:
        parameters = {name: value for name, value in SPEC.items() if name not in ("prompt", "weights")}
        rows = [
            {
                "id": f"filler-{number}",
                "generator": "vqgan_clip",
                "weights": SPEC["weights"],
                "prompt": SPEC["prompt"],
                "parameters": parameters,
                "submitter": f"person-{number % SUBMITTERS}",
                "state": "queued",
                "priority": 0,
                "turn": 2 * (number // SUBMITTERS) + 1,
                "attempts": 0,
                "max_attempts": 3,
                "created_at": utc_now(),
                "cancel_requested": False,
                "untidy": False,
            }
            for number in range(count)
        ]
        lines = [
            {"priority": 0, "submitter": f"person-{n}", "given": 2 * (count // SUBMITTERS) + 1, "served": 0}
            for n in range(min(count, SUBMITTERS))
        ]
        with db.writing(self._engine) as connection:
            connection.execute(insert(tables.jobs), rows)
            connection.execute(insert(tables.lines), lines)

    def enqueue(self, number: int) -> None:
        self._queue.enqueue("vqgan_clip", SPEC, submitter=f"person-{number % SUBMITTERS}")

    def claim(self) -> object:
        with self._as_told():
            return self._queue.claim("executor")

    def finish(self, claimed: object) -> None:
        assert isinstance(claimed, Claim)
        self._queue.finish(claimed, RESULT)

    @contextmanager
    def _as_told(self) -> Iterator[None]:
        usual = SYNCHRONOUS["passing"]
        SYNCHRONOUS["passing"] = self._kept
        yield
        SYNCHRONOUS["passing"] = usual


class Huey:
    """huey's storage; a task and a result are JSON of what ours keeps in columns."""

    name = "huey"

    def __init__(self, folder: Path) -> None:
        self._storage = SqliteStorage(filename=str(folder / "huey.db"), fsync=True, strict_fifo=True)
        self._task = json.dumps({"generator": "vqgan_clip", "submitter": "person-1", **SPEC}).encode()
        self._result = json.dumps(vars(RESULT)).encode()
        self._finished = 0
        connection: sqlite3.Connection = self._storage.conn
        self.claim_pragmas = _pragmas(lambda sql: connection.execute(sql).fetchone()[0])

    def fill(self, count: int) -> None:
        rows = [(self._storage.name, self._task, 0)] * count
        with self._storage.db(commit=True) as cursor:
            cursor.executemany("insert into task (queue, data, priority) values (?, ?, ?)", rows)

    def enqueue(self, number: int) -> None:
        self._storage.enqueue(self._task)

    def claim(self) -> object:
        return self._storage.dequeue()

    def finish(self, claimed: object) -> None:
        assert claimed is not None
        self._finished += 1
        self._storage.put_data(f"task-{self._finished}", self._result, is_result=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=300, help="how many jobs go all the way, for each number")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    asked = parser.parse_args()
    for waiting in WAITING:
        folder = Path(tempfile.mkdtemp(dir=asked.folder))
        try:
            contenders: list[Contender] = [
                Ours(folder, strict=False),
                Ours(folder, strict=True),
                Huey(folder),
            ]
            _compare(contenders, waiting, asked.jobs)
        finally:
            shutil.rmtree(folder)


def _compare(contenders: list[Contender], waiting: int, jobs: int) -> None:
    print(f"\n{waiting:,} jobs wait; {jobs} go all the way")
    for contender in contenders:
        print(f"  {contender.name}: {contender.claim_pragmas}")
        contender.fill(waiting)
        _work(contender, TURN)  # statements compiled, caches and log files warm
    seconds: dict[str, dict[str, list[float]]] = {
        contender.name: {"enqueue": [], "claim": [], "finish": []} for contender in contenders
    }
    for turn in range(0, jobs, TURN):
        for contender in contenders if turn // TURN % 2 else reversed(contenders):
            for step, values in _work(contender, TURN).items():
                seconds[contender.name][step] += values
    _print(seconds)


def _work(contender: Contender, jobs: int) -> dict[str, list[float]]:
    """Seconds of every step."""
    asked = [_timed(partial(contender.enqueue, number))[0] for number in range(jobs)]
    claims = [_timed(contender.claim) for _ in range(jobs)]
    finished = [_timed(partial(contender.finish, claimed))[0] for _, claimed in claims]
    return {"enqueue": asked, "claim": [seconds for seconds, _ in claims], "finish": finished}


def _timed(step: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    outcome = step()
    return time.perf_counter() - start, outcome


def _print(seconds: dict[str, dict[str, list[float]]]) -> None:
    names = list(seconds)
    ratios = [f"huey/{name}" for name in names[:-1]]
    print("  " + f"{'milliseconds':<20}" + "".join(f"{title:>20}" for title in names + ratios))
    for step in ("enqueue", "claim", "finish"):
        for percent in (50, 99):
            at = [quantiles(seconds[name][step], n=100)[percent - 1] for name in names]
            _row(f"{step}, p{percent}", at)
    _row("all the way, p50", [sum(map(median, seconds[name].values())) for name in names])
    _row("all the way, mean", [sum(map(fmean, seconds[name].values())) for name in names])


def _row(label: str, seconds: list[float]) -> None:
    ratios = [seconds[-1] / own for own in seconds[:-1]]
    values = [f"{1000 * value:>20.2f}" for value in seconds] + [f"{ratio:>20.2f}" for ratio in ratios]
    print("  " + f"{label:<20}" + "".join(values))


def _pragmas(ask: Callable[[str], object]) -> str:
    names = ("journal_mode", "synchronous", "wal_autocheckpoint", "cache_size")
    return ", ".join(f"{name} {ask(f'PRAGMA {name}')}" for name in names)


if __name__ == "__main__":
    main()
