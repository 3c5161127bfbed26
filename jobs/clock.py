"""The time of day and the time that passes, handed in so that tests can turn them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""The time of day, aware. It may be wrong, jump, and differ between machines."""

Stopwatch = Callable[[], float]
"""Seconds since any moment; it only goes forward, and means something to its own process only."""

stopwatch: Stopwatch = time.monotonic


def utc_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)
