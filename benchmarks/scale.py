"""From 1 to 200 executors on one queue, on SQLite and on PostgreSQL: claim latency, throughput, pick-up.

``python -m benchmarks.scale [--seconds 8] [--executors 1 2 5 10 20 50 100 200]`` prints a table and leaves it
in ``docs/scale.json`` and ``docs/scale.svg``.

An executor is simulated: it claims, beats, shows progress, finishes and waits to be woken as a real one does,
by the same code and with connections of its own, but draws by waiting for 0.2 to 1 second. They are threads
of four processes: 200 interpreters with torch in them would measure the machine's memory, and one alone its
own lock. Submitters keep more jobs waiting than there are executors. Once the queue has run empty, single
jobs are handed in to the idle executors, and it is noted how soon each is claimed.

PostgreSQL is measured with 1000 connections, and where that might make a difference with the 100 that it
allows by default. An executor that gets none does as a real one: it rests and tries again. In the end every
job must have been finished once.

The figures in ``docs/scale.json`` are of two cores that others kept busy, at the load averages that it names,
with 4 seconds each: they tell what holds, not how fast an idle machine is. Those of 200 executors were
measured later, on faster code.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue as Inbox
from multiprocessing.synchronize import Event
from statistics import fmean, quantiles

import altair as alt
import pandas as pd
from sqlalchemy import Engine, func, select, text

import db
from db.tables import jobs, results
from jobs.clock import utc_now
from jobs.executor import TROUBLE_SECONDS
from jobs.executors import Executors
from jobs.heart import Heart
from jobs.queue import Queue
from jobs.records import Capabilities, Claim, JobState, Progress, Result
from settings import ROOT
from tests.postgresql import running_cluster

EXECUTORS = (1, 2, 5, 10, 20, 50, 100, 200)
PROCESSES = 4
USUAL_CONNECTIONS, ENOUGH_CONNECTIONS = 100, 1000
SUBMITTERS = 4
DRAWING_SECONDS = (0.2, 1.0)
PROGRESS = 3
"""How often an executor shows how far a job is."""
PICK_UPS = 20
LEASE_SECONDS, BEAT_SECONDS, POLL_SECONDS = 30.0, 5.0, 5.0
SETTLING_SECONDS = 1.0
LONGEST_SECONDS = 180.0
"""How long the queue may take to run empty: a job whose executor gave up waits for its lease to end."""

_ABLE = Capabilities(frozenset({"sandbox"}), frozenset({"sandbox"}), 8_000_000_000)
_KEPT_CONNECTIONS = 5
_RESULT = Result("picture.png", "animation.gif", 0.6, {"score": 0.9}, 128, 128)
_SPAWN: ForkServerContext = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Done:
    """A job that an executor finished; moments are of the machine's monotonic clock, in seconds."""

    job_id: str
    asked: float
    claimed: float
    finished: float


@dataclass
class Notes:
    """What the executors of a process did, and the sentences they were told when they could not."""

    done: list[Done] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Figures:
    """One line of the table; ``share`` is of the throughput of executors that do nothing but draw."""

    database: str
    executors: int
    claim_ms_p50: float
    claim_ms_p99: float
    jobs_per_second: float
    share: float
    pick_up_ms_p50: float
    pick_up_ms_p99: float
    connections: int | None
    refusals: int
    finished: int
    load_average: float


def main() -> None:
    """Measure, print, plot; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--executors", type=int, nargs="+", default=EXECUTORS)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for figures in measure_all(options.executors, options.seconds):
        rows.append(asdict(figures))
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
        (ROOT / "docs" / "scale.json").write_text(json.dumps(rows, indent=0) + "\n")
    print(pd.DataFrame(rows).to_string(index=False))
    plot(pd.DataFrame(rows)).save(ROOT / "docs" / "scale.svg")


def measure_all(numbers: Sequence[int], seconds: float) -> Iterator[Figures]:
    """Every database with every number of executors."""
    for number in numbers:
        with sqlite() as url:
            yield measure("SQLite", url, number, seconds)
        with postgresql(ENOUGH_CONNECTIONS) as url:
            yield measure("PostgreSQL", url, number, seconds)
        if number > USUAL_CONNECTIONS // 4:
            with postgresql(USUAL_CONNECTIONS) as url:
                yield measure(f"PostgreSQL, {USUAL_CONNECTIONS} connections", url, number, seconds)


@contextmanager
def sqlite() -> Iterator[str]:
    """A new database in the temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studio.db"
        db.migrate(url)
        yield url


@contextmanager
def postgresql(max_connections: int) -> Iterator[str]:
    """A new database on a server of its own, which flushes to the disk."""
    with running_cluster(lasting=True) as cluster:
        cluster.execute(f"ALTER SYSTEM SET max_connections = {max_connections}")
        cluster.stop()
        cluster.start()
        with cluster.database() as url:
            yield url


def measure(database: str, url: str, executors: int, seconds: float) -> Figures:
    """Run so many executors on a full queue for so long, then hand single jobs to the idle ones.

    Raises:
        AssertionError: a job was not finished, or not once.
    """
    engine = db.open_engine(url)
    _keep_connections(engine)
    queue = _open_queue(engine)
    crew = _Crew(url, executors)
    asked: set[str] = set()
    with crew:
        with _submitting(queue, executors, asked):
            time.sleep(SETTLING_SECONDS)
            start = time.monotonic()
            time.sleep(seconds)
            end, connections = time.monotonic(), _connections(engine)
        _wait_until_empty(queue)
        picked_up = _hand_in_singly(queue)
    notes = crew.notes()
    asked |= picked_up.keys()
    _check_finished_once(engine, notes, asked)
    engine.dispose()
    seen = [done for done in notes.done if start <= done.finished < end]
    claims = [done.claimed - done.asked for done in notes.done if start <= done.claimed < end]
    pick_ups = [done.claimed - picked_up[done.job_id] for done in notes.done if done.job_id in picked_up]
    rate = len(seen) / (end - start)
    return Figures(
        database,
        executors,
        *_milliseconds(claims),
        round(rate, 2),
        round(rate * fmean(DRAWING_SECONDS) / executors, 3),
        *_milliseconds(pick_ups),
        connections,
        notes.told.total(),
        len(asked),
        round(os.getloadavg()[0], 1),
    )


class _Crew:
    """Executors at work in a handful of processes while it is entered."""

    def __init__(self, url: str, executors: int) -> None:
        _SPAWN.set_forkserver_preload(["altair", "pandas", "jobs.executor"])
        self._ready: Inbox[None] = _SPAWN.Queue()
        self._inbox: Inbox[Notes] = _SPAWN.Queue()
        self._end = _SPAWN.Event()
        shares = [len(range(first, executors, PROCESSES)) for first in range(min(PROCESSES, executors))]
        self._processes = [
            _SPAWN.Process(target=_work, args=(url, share, self._ready, self._end, self._inbox), daemon=True)
            for share in shares
        ]

    def __enter__(self) -> None:
        for process in self._processes:
            process.start()
        for _ in self._processes:
            self._ready.get(timeout=LONGEST_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._end.set()

    def notes(self) -> Notes:
        """What all of them noted, once they have left."""
        everything = Notes()
        for _ in self._processes:
            some = self._inbox.get(timeout=LONGEST_SECONDS)
            everything.done += some.done
            everything.told += some.told
        for process in self._processes:
            process.join()
        for sentence, times in everything.told.items():
            print(f"  told {times} times: {sentence}")
        return everything


def _work(url: str, executors: int, ready: "Inbox[None]", end: Event, inbox: "Inbox[Notes]") -> None:
    """A process: so many executors until the end."""
    logging.disable()  # what goes wrong is counted
    notes, stop = Notes(), threading.Event()
    begun = threading.Barrier(executors + 1)
    crew = [
        threading.Thread(target=_execute, args=(f"executor-{os.getpid()}-{number}", url, begun, stop, notes))
        for number in range(executors)
    ]
    for thread in crew:
        thread.start()
    begun.wait()
    ready.put(None)
    end.wait()
    stop.set()
    for thread in crew:
        thread.join()
    inbox.put(notes)


def _execute(name: str, url: str, begun: threading.Barrier, stop: threading.Event, notes: Notes) -> None:
    """What ``jobs.executor.Executor`` does, without files and without drawing."""
    engine = db.open_engine(url)
    queue, register = _open_queue(engine), Executors(engine, alive_seconds=LEASE_SECONDS)

    def report() -> None:
        if not register.beat(name, None, _ABLE):
            register.register(name, device="cpu", threads=1, able=_ABLE)

    with suppress(db.DatabaseError):
        report()
    begun.wait()
    with Heart(queue, report, BEAT_SECONDS) as heart, closing(queue.wakeup()) as wakeup:
        while not stop.is_set():
            try:
                queue.expire()
                asked = time.monotonic()
                claim = queue.claim(name, able=_ABLE)
                claimed = time.monotonic()
                if claim is None:
                    wakeup.wait(stop, POLL_SECONDS)
                    continue
                wakeup.close()
                with heart.holding(claim):
                    _draw(queue, claim)
                notes.done.append(Done(claim.job.id, asked, claimed, time.monotonic()))
            except db.DatabaseError as error:
                notes.told[_without_address(error, url)] += 1
                stop.wait(TROUBLE_SECONDS)
    engine.dispose()


def _draw(queue: Queue, claim: Claim) -> None:
    seconds = claim.job.parameters["seconds"]
    try:
        for step in range(1, PROGRESS + 1):
            time.sleep(seconds / PROGRESS)
            queue.record_progress(claim, Progress(step, PROGRESS, f"live/{step}.jpg", [], utc_now()))
        queue.finish(claim, _RESULT)
    except db.DatabaseError:
        with suppress(db.DatabaseError):
            queue.release(claim)
        raise


def _open_queue(engine: Engine) -> Queue:
    return Queue(
        engine,
        lease_seconds=LEASE_SECONDS,
        max_attempts=1000,
        max_waiting_per_person=1000,
        keep_weights_seconds=20,
    )


def _keep_connections(engine: Engine) -> None:
    """Who hands in has connections before the executors take them all."""
    with ExitStack() as stack:
        for _ in range(_KEPT_CONNECTIONS):
            stack.enter_context(engine.connect())


@contextmanager
def _submitting(queue: Queue, executors: int, asked: set[str]) -> Iterator[None]:
    """Keep more jobs waiting than there are executors; ``asked`` takes the jobs' ids."""
    stop, each = threading.Event(), 5 + 2 * executors // SUBMITTERS
    people = [
        threading.Thread(target=_submit, args=(queue, f"person-{number}", each, stop, asked))
        for number in range(SUBMITTERS)
    ]
    for thread in people:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in people:
            thread.join()


def _submit(queue: Queue, person: str, waiting: int, stop: threading.Event, asked: set[str]) -> None:
    chance = random.Random(person)
    while not stop.is_set():
        missing = waiting - queue.waiting_of([person])
        batch = [_spec(chance.uniform(*DRAWING_SECONDS)) for _ in range(missing)]
        asked.update(job.id for job in queue.enqueue_all("vqgan_clip", batch, submitter=person))
        stop.wait(0.1)


def _spec(seconds: float) -> dict[str, object]:
    return {"prompt": "a red circle", "weights": "sandbox", "seed": 1, "seconds": seconds}


def _hand_in_singly(queue: Queue) -> dict[str, float]:
    """The moment at which each was handed in, by its id."""
    moments = {}
    for _ in range(PICK_UPS):
        time.sleep(random.uniform(0.1, 0.2))  # the executors idle, at no fixed moment of their looking
        moment = time.monotonic()
        moments[queue.enqueue("vqgan_clip", _spec(0), submitter="person").id] = moment
        _wait_until_empty(queue)
    return moments


def _wait_until_empty(queue: Queue) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while (counts := queue.counts()).waiting or counts.running:
        assert time.monotonic() < deadline, f"the queue does not run empty: {counts}"
        time.sleep(0.05)


def _connections(engine: Engine) -> int | None:
    """How many connections the executors hold; None on SQLite."""
    if engine.dialect.name == "sqlite":
        return None
    count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    with db.reading(engine) as connection:
        return int(connection.execute(count).scalar_one()) - _KEPT_CONNECTIONS


def _check_finished_once(engine: Engine, notes: Notes, asked: set[str]) -> None:
    finished = Counter(done.job_id for done in notes.done)
    assert finished == Counter(asked), "a job was finished twice, or never"
    with db.reading(engine) as connection:
        succeeded = select(jobs.c.id).where(jobs.c.state == JobState.SUCCEEDED.value)
        assert set(connection.execute(succeeded).scalars()) == asked
        assert connection.execute(select(func.count()).select_from(results)).scalar_one() == len(asked)


def _milliseconds(seconds: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    at = quantiles(seconds, n=100, method="inclusive")
    return round(1000 * at[49], 2), round(1000 * at[98], 2)


def _without_address(error: db.DatabaseError, url: str) -> str:
    return str(error).replace(url, "…")


def plot(rows: pd.DataFrame) -> alt.HConcatChart:
    """Claim latency and throughput against the number of executors, a line a database."""
    return alt.hconcat(_latency(rows), _throughput(rows))


def _latency(rows: pd.DataFrame) -> alt.Chart:
    points = rows.rename(columns={"claim_ms_p50": "p50", "claim_ms_p99": "p99"})
    points = points.melt(["database", "executors"], ["p50", "p99"], "percentile")
    y = alt.Y("value:Q", scale=alt.Scale(type="log"), title="claim, milliseconds: p50, and dashed p99")
    return _lines(points).encode(y=y, strokeDash=alt.StrokeDash("percentile:N", legend=None))


def _throughput(rows: pd.DataFrame) -> alt.Chart:
    ideal = rows.assign(
        jobs_per_second=rows["executors"] / fmean(DRAWING_SECONDS), database="nothing but drawing"
    )
    y = alt.Y("jobs_per_second:Q", scale=alt.Scale(type="log"), title="finished jobs per second")
    return _lines(pd.concat([rows, ideal.drop_duplicates("executors")])).encode(y=y)


def _lines(points: pd.DataFrame) -> alt.Chart:
    x = alt.X("executors:Q", scale=alt.Scale(type="log"), axis=alt.Axis(values=list(EXECUTORS)))
    return (
        alt.Chart(points)
        .mark_line(point=True)
        .encode(x=x, color=alt.Color("database:N", title=None))
        .properties(width=360, height=240)
    )


if __name__ == "__main__":
    main()
