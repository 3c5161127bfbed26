"""The studio's queue beside huey, procrastinate and litequeue: throughput, latency, pick-up time.

Run on an idle machine: ``python -m benchmarks.queue_speed [--full] [--folder data]``.

Ours to the best other on two cores that tests wanted now and then; above 1, ours is first:

    SQLite, executors      0 wait              10^5 wait           10^6 wait
                           1     8     64      1     8     64      1     8     64
    enqueue a second       0.25  0.85  0.66    0.23  0.67  0.68    0.12  0.18  0.70
    claim a second         0.74  0.96  1.94    0.60  1.12  1.89    0.63  1.00  3.04
    finish a second        0.42  0.69  1.00    0.33  0.64  0.69    0.30  0.46  0.88
    claim, p50             0.95  0.67  0.83    0.77  0.67  0.69    0.80  0.72  0.21
    claim, p99             0.75  1.03  2.69    0.71  1.72  2.44    0.50  1.27  2.97

    PostgreSQL, executors  0 wait              10^5 wait           10^6 wait
                           1     8     64      1     8     64      1     8     64
    enqueue a second       0.34  0.26  0.33    0.27  0.35  0.34    0.20  0.31  0.32
    claim a second         0.21  0.22  0.23    0.18  0.23  0.27    0.15  0.22  0.30
    finish a second        0.28  0.18  0.18    0.24  0.26  0.22    0.24  0.23  0.23
    claim, p50             0.21  0.21  0.17    0.18  0.19  0.18    0.18  0.22  0.15
    claim, p99             0.66  0.30  0.24    0.35  0.41  0.57    0.34  0.29  0.33

Where it is not first the best other is nearly always huey, which adds a row and takes one out. Ours counts
what a person has waiting, gives a turn, keeps jobs, lines and results in tables with their indexes, and
fences every write by its lease, in two to five statements a call. Beside procrastinate, which keeps its jobs
too, it enqueues 0.6 to 1.5 times as many a second, claims 1.0 to 1.4 (9.6 with nothing waiting and one
executor) and finishes 0.9 to 2.2. Many executors and long queues cost it least: with a million waiting,
litequeue takes 0.3 seconds for a claim, and gives up with 64 executors, for the database stays locked.

From asking to taking up it is first on SQLite as the products come (13 ms; the others 62 and 97, at their
best settings 3 and 4), and second on PostgreSQL (11 ms; huey 4, procrastinate 14).
"""

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import sleep

import psycopg
from sqlalchemy import make_url

from benchmarks.queue_speed.contender import Contender
from benchmarks.queue_speed.crew import STEPS, Crew, GaveUp, Lap, crew, idle_worker
from benchmarks.queue_speed.huey import Huey
from benchmarks.queue_speed.litequeue import Litequeue
from benchmarks.queue_speed.procrastinate import Procrastinate
from benchmarks.queue_speed.studio import Studio
from tests.postgresql import running_cluster

CONTENDERS: dict[str, tuple[type[Contender], ...]] = {
    "SQLite": (Studio, Huey, Litequeue),
    "PostgreSQL": (Studio, Huey, Procrastinate),
}
JOBS_A_TURN = 192
PICK_UPS = 12
PAUSE = 0.15
"""Seconds between two pick-ups of different contenders, so that each is idle for about a second before."""

Urls = dict[type[Contender], str]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="also 64 executors, and a million waiting jobs")
    parser.add_argument("--folder", type=Path, help="for SQLite, on the disk to measure; default: temporary")
    asked = parser.parse_args()
    sizes = (1, 8, 64) if asked.full else (1, 8)
    backlogs = (0, 100_000, 1_000_000) if asked.full else (0, 100_000)
    turns = 5 if asked.full else 3
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}")
    print("ours/best other above 1: ours is first")
    for backend in CONTENDERS:
        with _server(backend, asked.folder) as place:
            for backlog in backlogs:
                urls = _laid(backend, place, backlog)
                for size in sizes:
                    print(f"\n{backend}, {backlog:,} jobs wait, {size} executors")
                    _compare(urls, size, turns)
                if backlog == 0:
                    print(f"\n{backend}, from asking to taking up, one idle worker")
                    _compare_pick_ups(urls)
    print(f"\nload average {os.getloadavg()[0]:.1f}")


@contextmanager
def _server(backend: str, folder: Path | None) -> Iterator[str]:
    """Where databases can be laid: the URL of one, with its name to be replaced."""
    if backend == "SQLite":
        place = Path(tempfile.mkdtemp(dir=folder))
        try:
            yield f"sqlite:///{place}/"
        finally:
            shutil.rmtree(place)
    else:
        with running_cluster(lasting=True) as cluster:
            cluster.execute("ALTER SYSTEM SET max_connections = 300")
            cluster.stop()
            cluster.start()
            yield cluster.url("")


def _laid(backend: str, place: str, backlog: int) -> Urls:
    urls = {kind: f"{place}{kind.name}_{backlog}" for kind in CONTENDERS[backend]}
    for kind, url in urls.items():
        if backend == "PostgreSQL":
            _execute(place + "postgres", f"CREATE DATABASE {make_url(url).database}")
        kind.create(url)
        if backlog:
            kind.fill(url, backlog)
        if backend == "PostgreSQL":
            _execute(url, "VACUUM ANALYZE")
            _execute(url, "CHECKPOINT")
    return urls


def _execute(url: str, statement: str) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def _compare(urls: Urls, size: int, turns: int) -> None:
    laps: dict[str, list[dict[str, Lap]]] = {kind.name: [] for kind in urls}
    with ExitStack() as stack:
        crews = {kind.name: stack.enter_context(crew(kind, url, size)) for kind, url in urls.items()}
        for name in list(crews):
            with _fair_play(name, crews):
                crews[name].lap(size)  # statements compiled, caches and log files warm
        for turn in range(turns):
            for name in list(crews) if turn % 2 else list(reversed(crews)):
                with _fair_play(name, crews):
                    laps[name].append(crews[name].lap(JOBS_A_TURN))
    _head(list(crews))
    for step in STEPS:
        _row(f"{step}/s", [median(lap[step].per_second for lap in laps[name]) for name in crews], more=True)
    for percent in (50, 99):
        at = [_percentile([s for lap in laps[name] for s in lap["claim"].seconds], percent) for name in crews]
        _row(f"claim p{percent}, ms", at, more=False)


@contextmanager
def _fair_play(name: str, crews: dict[str, Crew]) -> Iterator[None]:
    """Who gives up is out of this table."""
    try:
        yield
    except GaveUp as error:
        print(f"  {name} gives up: {error.__cause__}")
        del crews[name]


def _compare_pick_ups(urls: Urls) -> None:
    _head([kind.name for kind in urls])
    for eager in (False, True):
        waited = _pick_ups(urls, eager)
        for percent in (50, 99):
            at = [_percentile(waited[kind], percent) for kind in urls]
            _row(f"{'at best' if eager else 'default'} p{percent}, ms", at, more=False)


def _pick_ups(urls: Urls, eager: bool) -> dict[type[Contender], list[float]]:
    """Seconds from asking for a job to its being taken up."""
    waited: dict[type[Contender], list[float]] = {kind: [] for kind in urls}
    with ExitStack() as stack:
        idle = {kind: stack.enter_context(idle_worker(kind, url, eager=eager)) for kind, url in urls.items()}
        asking = {kind: stack.enter_context(crew(kind, url, 1)) for kind, url in urls.items()}
        sleep(1)
        for _ in range(PICK_UPS):
            for kind, worker in idle.items():
                sleep(PAUSE * random.uniform(1, 2))
                start = asking[kind].step("enqueue", 1).start
                waited[kind].append(worker.recv() - start)
    return waited


def _percentile(values: list[float], percent: int) -> float:
    return 1000 * quantiles(values, n=100, method="inclusive")[percent - 1]


def _head(names: list[str]) -> None:
    print("  " + " " * 18 + "".join(f"{name:>15}" for name in names) + f"{'ours/best other':>18}")


def _row(label: str, values: list[float], *, more: bool) -> None:
    """``more``: whether more is better. The ratio is how many times better ours is."""
    ours, *others = values
    ratio = ours / max(others) if more else min(others) / ours
    told = "" if ratio >= 1 else "  not first"
    print(f"  {label:<18}" + "".join(f"{value:>15,.2f}" for value in values) + f"{ratio:>18.2f}{told}")


if __name__ == "__main__":
    main()
