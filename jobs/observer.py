"""Who is silent, told without comparing the clocks of two machines.

Whoever lives changes a value now and then; an observer notes by its own stopwatch for how long it has seen
the value unchanged, as Kubernetes' leader election does.
"""

import math
import threading
from collections.abc import Hashable, Mapping
from types import MappingProxyType

from jobs.clock import Stopwatch


class Observer:
    """Watches values by name. Threads may share one.

    Args:
        stopwatch: tells the seconds.
        blind_seconds: after so long without a look everything is watched anew, for whoever could not look,
            stopped or cut off from the database, cannot say who was silent.
    """

    def __init__(self, stopwatch: Stopwatch, blind_seconds: float = math.inf) -> None:
        self._stopwatch = stopwatch
        self._blind_seconds = blind_seconds
        self._looked = -math.inf
        self._seen: dict[str, tuple[Hashable, float]] = {}
        self._lock = threading.Lock()

    def seconds_since_look(self) -> float:
        """How long ago the last look was; infinite before the first."""
        return self._stopwatch() - self._looked

    def look(
        self, values: Mapping[str, Hashable], ages: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, float]:
        """For how many seconds each of ``values`` has been seen unchanged; others are forgotten.

        What is seen for the first time counts from now, or as if seen ``ages`` seconds ago.
        """
        with self._lock:
            now = self._stopwatch()
            known = self._seen if now - self._looked <= self._blind_seconds else {}
            self._looked = now
            self._seen = {
                name: (value, _since(known.get(name), value, now, ages.get(name, 0.0)))
                for name, value in values.items()
            }
            return {name: now - since for name, (_, since) in self._seen.items()}


def _since(known: tuple[Hashable, float] | None, value: Hashable, now: float, age: float) -> float:
    if known is None:
        return now - age
    before, since = known
    return since if before == value else now
