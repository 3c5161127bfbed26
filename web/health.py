"""Whether this process lives, and whether what it works with can be used: for whoever keeps it running."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from db import DatabaseError
from store import StoreError

PATIENCE_SECONDS = 4.0
KEPT_SECONDS = 5.0
"""Whoever asks again within this time gets the same answer, so that many watchers cost no more than one."""


@dataclass(frozen=True)
class Finding:
    """Whether a part of the studio can be used, and what is wrong or right in a sentence."""

    name: str
    ready: bool
    sentence: str


class Part:
    """Something that the studio cannot do without. One that does not answer is asked by one thread, no more.

    Args:
        name: what people call it.
        ask: returns when it can be used; raises DatabaseError or StoreError when it cannot.
        clock: gives seconds that never go back; a finding is kept for ``KEPT_SECONDS``.
    """

    def __init__(
        self, name: str, ask: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: Future[Finding] | None = None
        self._found_at = 0.0

    def find(self, patience_seconds: float = PATIENCE_SECONDS) -> Finding:
        """How it is; not ready where it does not answer within ``patience_seconds``."""
        try:
            return self._answer().result(patience_seconds)
        except TimeoutError:
            return Finding(self._name, False, f"The {self._name} does not answer: see whether it runs.")

    def _answer(self) -> Future[Finding]:
        with self._lock:
            if self._asked is None or self._asked.done() and self._is_old():
                self._asked = Future()
                threading.Thread(target=self._look, args=(self._asked,), daemon=True).start()
            return self._asked

    def _is_old(self) -> bool:
        return self._clock() - self._found_at >= KEPT_SECONDS

    def _look(self, answer: Future[Finding]) -> None:
        try:
            answer.set_result(self._find())
        except Exception as error:
            answer.set_exception(error)

    def _find(self) -> Finding:
        try:
            self._ask()
            return Finding(self._name, True, f"The {self._name} can be used.")
        except (DatabaseError, StoreError) as error:
            return Finding(self._name, False, str(error))
        finally:
            self._found_at = self._clock()


def routes(parts: Mapping[str, Part]) -> list[Route]:
    """``GET /health``: 200 at once. ``GET /ready``: 200, or 503 where one of ``parts`` cannot be used."""

    async def health(_request: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    async def ready(_request: Request) -> JSONResponse:
        found = await asyncio.gather(*(asyncio.to_thread(part.find) for part in parts.values()))
        able = all(finding.ready for finding in found)
        body = {"ready": able, "checks": [asdict(finding) for finding in found]}
        return JSONResponse(body, 200 if able else 503)

    return [Route("/health", health), Route("/ready", ready)]
