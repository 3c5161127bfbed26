"""Processes that work on one queue at the same time.

Processes, as executors are, forked so that sixty-four of them cost little: threads would share one
interpreter, and the measure would be of its lock. Each has a connection of its own.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.queue_speed.contender import Contender

STEPS = ("enqueue", "claim", "finish")
_FORK = get_context("fork")
_HEAD_START = 0.05
_PATIENCE = 120.0


class GaveUp(Exception):
    """A contender raised, such as for a database that others lock for too long."""


@dataclass(frozen=True)
class Lap:
    """A step done by all, from ``start`` on the monotonic clock: how often a second, and seconds of each."""

    start: float
    per_second: float
    seconds: list[float]


@contextmanager
def crew(kind: type[Contender], url: str, size: int) -> Iterator["Crew"]:
    """So many processes, ready."""
    with _processes(size, lambda pipe: _work(kind(url), pipe)) as pipes:
        yield Crew(pipes)


@contextmanager
def idle_worker(kind: type[Contender], url: str, *, eager: bool) -> Iterator[Connection]:
    """A process that waits for jobs, and sends the moment of taking one up, on the monotonic clock."""
    with _processes(1, lambda pipe: _serve(kind(url), pipe, eager)) as (pipe,):
        yield pipe


class Crew:
    """Does a number of jobs, step by step."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._pipes = pipes

    def lap(self, jobs: int) -> dict[str, Lap]:
        """All enqueue, then all claim, then all finish what they claimed."""
        return {step: self.step(step, jobs // len(self._pipes)) for step in STEPS}

    def step(self, step: str, times: int) -> Lap:
        """All do one of the steps so many times. Raises GaveUp."""
        start = time.monotonic() + _HEAD_START
        for pipe in self._pipes:
            pipe.send((step, times, start))
        told = [_receive(pipe) for pipe in self._pipes]
        for error in told:
            if isinstance(error, Exception):
                raise GaveUp from error
        seconds = [value for values, _ in told for value in values]
        return Lap(start, len(seconds) / (max(end for _, end in told) - start), seconds)


@contextmanager
def _processes(count: int, task: Callable[[Connection], None]) -> Iterator[list[Connection]]:
    pairs = [_FORK.Pipe() for _ in range(count)]
    processes = [_FORK.Process(target=_run, args=(task, theirs)) for _, theirs in pairs]
    for process in processes:
        process.start()
    pipes = [ours for ours, _ in pairs]
    try:
        for pipe in pipes:
            _receive(pipe)
        yield pipes
    finally:
        for process in processes:
            process.kill()
            process.join()


def _run(task: Callable[[Connection], None], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task(pipe)
    os._exit(0)


def _work(contender: Contender, pipe: Connection) -> None:
    pipe.send("ready")
    claimed: list[object] = []
    while True:
        step, times, start = pipe.recv()
        time.sleep(max(0.0, start - time.monotonic()))
        try:
            pipe.send(_STEPS[step](contender, times, claimed))
        except Exception as error:
            pipe.send(error)


def _enqueue(contender: Contender, times: int, _claimed: list[object]) -> tuple[list[float], float]:
    return _timed([contender.enqueue] * times)


def _claim(contender: Contender, times: int, claimed: list[object]) -> tuple[list[float], float]:
    def claim() -> None:
        while (found := contender.claim()) is None:
            pass
        claimed.append(found)

    return _timed([claim] * times)


def _finish(contender: Contender, times: int, claimed: list[object]) -> tuple[list[float], float]:
    return _timed([lambda: contender.finish(claimed.pop())] * times)


_STEPS = {"enqueue": _enqueue, "claim": _claim, "finish": _finish}


def _timed(calls: Sequence[Callable[[], Any]]) -> tuple[list[float], float]:
    seconds = []
    for call in calls:
        start = time.monotonic()
        call()
        seconds.append(time.monotonic() - start)
    return seconds, time.monotonic()


def _serve(contender: Contender, pipe: Connection, eager: bool) -> None:
    pipe.send("ready")
    contender.serve(lambda: pipe.send(time.monotonic()), eager=eager)


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(_PATIENCE):
        raise TimeoutError("A process of the benchmark does not answer: see what it printed.")
    return pipe.recv()
