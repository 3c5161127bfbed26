"""The heartbeat: a thread that keeps an executor on the register and its lease alive while it works."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import logs
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

    @property
    def facts(self) -> dict[str, str | int]:
        """What every line of the log tells while the job is at work."""
        return {"job": self.claim.job.id, "attempt": self.claim.job.attempts}


class Heart:
    """Beats while it is entered.

    Args:
        queue: renews the lease in hand, and takes back what silent executors held.
        report: called at every beat, to say that the executor is alive.
        seconds: between beats.
        alive_file: touched at every beat, also when nobody else can be told; gone when the executor leaves.
    """

    def __init__(
        self, queue: Queue, report: Callable[[], None], seconds: float, alive_file: Path | None = None
    ) -> None:
        self._queue = queue
        self._report = report
        self._seconds = seconds
        self._alive_file = alive_file
        self._lease: Lease | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="heartbeat", daemon=True
        )

    def __enter__(self) -> "Heart":
        self._show_life()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if self._alive_file is not None:
            self._alive_file.unlink(missing_ok=True)

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
            self._show_life()
            lease = self._lease
            with logs.about(**({} if lease is None else lease.facts)):
                try:
                    self._beat(lease)
                except DatabaseError as error:
                    _log.warning("a heartbeat was missed: %s", error)
                except Exception:  # whatever it was, the next beat may go well
                    _log.exception("a heartbeat was missed")

    def _show_life(self) -> None:
        if self._alive_file is not None:
            with suppress(OSError):  # whoever watches the file sees that it grows old
                self._alive_file.touch()

    def _beat(self, lease: Lease | None) -> None:
        if lease is not None:
            try:
                lease.cancel_requested |= self._queue.heartbeat(lease.claim)
            except LeaseLost:
                lease.lost = True
        self._report()
        self._queue.expire()
