"""Real processes of the studio for tests, and waiting on conditions with deadlines."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

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


class WebServer:
    """``webapp.py`` on a free port of its own, which it keeps when it is started again."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://localhost:{port}"
        self._arguments = [*arguments, "web.host=localhost", f"web.port={port}"]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            command = [sys.executable, "webapp.py", *self._arguments]
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    def wait_until_it_answers(self) -> None:
        wait_until(lambda: self.answers() or not self.is_running(), "the web server answers")
        assert self.is_running(), self._log.read_text()

    def answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/api/queue", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(timeout=60) in (0, -signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: no time to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)
