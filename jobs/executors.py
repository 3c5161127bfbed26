"""Which executors there are, and which are alive."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from jobs.queue import utc_now
from jobs.records import ExecutorStatus


class Executors:
    def __init__(
        self, engine: Engine, *, alive_seconds: float, clock: Callable[[], datetime] = utc_now
    ) -> None: ...

    def register(self, executor_id: str, *, device: str, threads: int) -> None: ...
    def beat(self, executor_id: str, trouble: str | None = None) -> None: ...
    def leave(self, executor_id: str) -> None: ...
    def all(self) -> list[ExecutorStatus]:
        raise NotImplementedError

    def alive(self) -> list[ExecutorStatus]:
        raise NotImplementedError
