"""The heartbeat: a thread that keeps an executor on the register and its lease alive while it works."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from db import DatabaseError
from jobs.queue import LeaseLost, Queue
from jobs.records import Claim

_log = logging.getLogger(__name__)


@dataclass
class Lease:
    """A claim, and what was learnt of it since: read between frames."""

    claim: Claim
    cancel_requested: bool = False
    lost: bool = False


class Heart:
    """Beats while it is entered.

    Args:
        queue: renews the lease in hand, and takes back what silent executors held.
        report: called at every beat, to say that the executor is alive.
        seconds: between beats.
    """

    def __init__(self, queue: Queue, report: Callable[[], None], seconds: float) -> None:
        self._queue = queue
        self._report = report
        self._seconds = seconds
        self._lease: Lease | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Lease]:
        """Keep the claim's lease alive for the time of the block."""
        self._lease = lease = Lease(claim)
        try:
            yield lease
        finally:
            self._lease = None

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            try:
                self._beat()
            except DatabaseError as error:
                _log.warning("a heartbeat was missed: %s", error)

    def _beat(self) -> None:
        lease = self._lease
        if lease is not None:
            try:
                lease.cancel_requested |= self._queue.heartbeat(lease.claim)
            except LeaseLost:
                lease.lost = True
        self._report()
        self._queue.expire()
