"""How much one may ask for: buckets that fill with time, for each person and each address.

The buckets are in the memory of a web process: each counts for itself, and a restart fills them.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.recipe import MAX_FILE_BYTES
from jobs.uploads import MAX_BYTES
from settings import LimitSettings
from web.address import household
from web.permissions import Caller, Openness, Right, Rules
from web.problems import TooManyFromHere, TooMuch

MAX_JSON_BYTES = 2**20
_PAGE_UPLOAD = "/_stcore/upload_file"
_LARGEST: Mapping[str, int] = {
    "/api/uploads": MAX_BYTES + 2**16,
    "/api/recipes": MAX_FILE_BYTES + 2**16,
    _PAGE_UPLOAD: MAX_FILE_BYTES + 2**20,
}
_COUNTED = ("/api/", "/auth/", "/oauth2callback", _PAGE_UPLOAD)
_MAX_BUCKETS = 100_000
_MAX_HOUSEHOLDS = 10_000
_MAX_PEOPLE = 500
K = TypeVar("K")
V = TypeVar("V")


class Kind(StrEnum):
    """What is counted; each completes the sentence "You have sent too many …"."""

    REQUESTS = "requests"
    SUBMISSIONS = "jobs at once"
    UPLOADS = "files"
    FAILURES = "tokens that are none"


class Limits:
    """Buckets that hold what may be asked for in a row, and fill at the rates of ``settings``.

    None of them counts where everybody is on the studio's own machine. ``clock`` gives seconds that never go
    back.
    """

    def __init__(
        self, settings: LimitSettings, rules: Rules, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counting = rules.openness is not Openness.OWN_MACHINE
        self._most_waiting = settings.max_waiting_per_address
        self._rates = {
            Kind.REQUESTS: (settings.requests_per_minute, 60.0),
            Kind.SUBMISSIONS: (settings.submissions_per_minute, 60.0),
            Kind.UPLOADS: (settings.uploads_per_hour, 3600.0),
            Kind.FAILURES: (settings.failures_per_minute, 60.0),
        }
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[Kind, str], tuple[float, float]] = OrderedDict()
        self._people: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def take(self, kind: Kind, caller: Caller, count: int = 1) -> None:
        """Take ``count`` from the buckets of the person and of the address. Raises TooMuch."""
        self._take(kind, [caller.person, household(caller.address)], count)

    def take_here(self, kind: Kind, address: str) -> None:
        """Take one from the bucket of the address alone. Raises TooMuch."""
        self._take(kind, [household(address)], 1)

    def check_failures(self, address: str) -> None:
        """Raise TooMuch where an address has shown too many tokens that are none."""
        self._take(Kind.FAILURES, [household(address)], 0)

    def note_failure(self, address: str) -> None:
        """Count a token that is none."""
        with self._lock:
            key = (Kind.FAILURES, household(address))
            self._fill(key, max(0.0, self._level(key) - 1))

    def check_waiting(self, caller: Caller, count: int, waiting: Callable[[list[str]], int]) -> None:
        """Keep people at one address, who have not signed in, from having more jobs waiting than may be.

        ``waiting`` tells how many jobs of these people wait.

        Raises:
            TooManyFromHere: they would have more, with ``count`` of this caller's.
        """
        if not self._counting or caller.signed_in:
            return
        here = household(caller.address)
        with self._lock:
            people = [*self._people.get(here, ()), caller.person]
        if waiting(people) + count > self._most_waiting:
            raise TooManyFromHere(self._most_waiting)
        with self._lock:
            known = _touched(self._people, here, OrderedDict(), _MAX_HOUSEHOLDS)
            _touched(known, caller.person, None, _MAX_PEOPLE)

    def _take(self, kind: Kind, whose: list[str], count: int) -> None:
        if not self._counting:
            return
        size, seconds = self._rates[kind]
        with self._lock:
            keys = [(kind, name) for name in whose]
            levels = [self._level(key) for key in keys]
            wanted = min(max(count, 1), size)
            if min(levels) < wanted:
                raise TooMuch(kind, (wanted - min(levels)) * seconds / size)
            if count:
                for key, level in zip(keys, levels, strict=True):
                    self._fill(key, level - wanted)

    def _level(self, key: tuple[Kind, str]) -> float:
        size, seconds = self._rates[key[0]]
        level, then = self._buckets.get(key, (size, self._clock()))
        return min(size, level + (self._clock() - then) * size / seconds)

    def _fill(self, key: tuple[Kind, str], level: float) -> None:
        self._buckets.pop(key, None)
        _touched(self._buckets, key, (level, self._clock()), _MAX_BUCKETS)


class LimitRequests:
    """ASGI middleware behind ``RememberPerson``: counts requests, but for files that all pages share.

    A file for a page counts among the uploads too. A live connection has no person yet, and counts for its
    address.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._count(scope)
        except TooMuch as problem:
            await too_much(problem)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _count(self, scope: Scope) -> None:
        if scope["type"] == "websocket":
            self._limits.take_here(Kind.REQUESTS, scope["state"]["address"])
        elif scope["type"] == "http" and scope["path"].startswith(_COUNTED):
            caller: Caller = scope["state"]["caller"]
            self._limits.take(Kind.REQUESTS, caller)
            if scope["method"] == "PUT" and scope["path"].startswith(_PAGE_UPLOAD):
                self._limits.take(Kind.UPLOADS, caller)


class LimitBodies:
    """ASGI middleware: reads no more of a body than its address takes, whatever its length is said to be."""

    def __init__(self, app: ASGIApp, largest_weights: int) -> None:
        self.app = app
        self._largest_weights = largest_weights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        largest, length = self._largest(scope), dict(scope["headers"]).get(b"content-length", b"0")
        refusal = JSONResponse(
            {"error": f"What you sent is too large: {largest / 2**20:.0f} MB are taken here."}, 413
        )
        if not length.isdigit() or int(length) > largest:
            await refusal(scope, receive, send)
            return
        read, refused = 0, False

        async def receive_some() -> Message:
            nonlocal read, refused
            message = await receive()
            read += len(message.get("body", b""))
            if read <= largest:
                return message
            if not refused:
                refused = True
                await refusal(scope, receive, send)
            return {"type": "http.disconnect"}

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self.app(scope, receive_some, send_unless_refused)
        except Exception:
            if not refused:  # else it stumbled over the body that broke off
                raise

    def _largest(self, scope: Scope) -> int:
        path: str = scope["path"]
        if path.startswith(_PAGE_UPLOAD):  # kept in memory as long as the page is open
            caller: Caller = scope["state"]["caller"]
            if caller.may(Right.MANAGE_WEIGHTS):
                return self._largest_weights + 2**20
            if not caller.may(Right.DRAW):
                return 0
        return next((most for start, most in _LARGEST.items() if path.startswith(start)), MAX_JSON_BYTES)


def too_much(problem: TooMuch) -> JSONResponse:
    """429, and when to come back."""
    return JSONResponse({"error": str(problem)}, 429, {"Retry-After": str(problem.seconds)})


def _touched(kept: OrderedDict[K, V], key: K, new: V, most: int) -> V:
    """The value of ``key``, or else ``new``; beyond ``most``, what was touched longest ago is forgotten."""
    value = kept.setdefault(key, new)
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
    return value
