"""Real executor processes for tests, and waiting on conditions with deadlines."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import ROOT, Settings, load_settings

SCRIPT = Path(__file__).with_name("fast_executor.py")


def quick_settings(folder: Path, *more: str) -> list[str]:
    """Settings as arguments: short leases, a checkpoint at almost every step, all data in ``folder``."""
    return [
        f"data_dir={folder}",
        "queue.lease_seconds=1.5",
        "queue.max_attempts=1000",
        "queue.max_waiting_per_person=1000",
        "executor.poll_seconds=0.02",
        "executor.heartbeat_seconds=0.3",
        "executor.frame_seconds=0.1",
        "executor.checkpoint_seconds=0.01",
        "executor.animation_frames=5",
        *more,
    ]


def load(arguments: list[str]) -> Settings:
    return load_settings(arguments, environment={})


@contextmanager
def executor(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An executor process that is gone at the end of the block."""
    process = start_executor(arguments, log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def start_executor(arguments: list[str], log: Path, script: Path = SCRIPT) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, str(script), *arguments], env=environment, stdout=out, stderr=subprocess.STDOUT
        )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)
