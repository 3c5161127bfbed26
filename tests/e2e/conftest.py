"""The studio as people use it: real processes on a free port and a fresh data folder, a real browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import func, select

import db
from db.tables import SUCCEEDED, jobs

ROOT = Path(__file__).parents[2]
CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
]
START_SECONDS = 240
PATIENCE_MS = 240_000

expect.set_options(timeout=PATIENCE_MS)


class RunningStudio:
    """The web application on ``url``; executors are started and stopped by the tests.

    ``environment`` is what the processes find in theirs besides.
    """

    def __init__(self, folder: Path, port: int | None = None, **environment: str) -> None:
        self.folder = folder
        self.url = f"http://localhost:{port or free_port()}"
        self._environment = os.environ | {
            "STUDIO_DATA_DIR": str(folder),
            "STUDIO_QUEUE__LEASE_SECONDS": "10",
            "STUDIO_EXECUTOR__FRAME_SECONDS": "0.2",
            "STUDIO_EXECUTOR__THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        port = self.url.rsplit(":", 1)[-1]
        streamlit = [sys.executable, "-m", "streamlit", "run", "webapp.py", "--server.port", port]
        self._web = self._start(streamlit, "web.log")
        self._executors: list[subprocess.Popen[bytes]] = []

    def wait_until_up(self) -> None:
        wait_for(lambda: self._web.poll() is not None or _answers(f"{self.url}/_stcore/health"))
        assert self._web.poll() is None, (self.folder / "web.log").read_text()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The web process stands still for the time of the block."""
        self._web.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._web.send_signal(signal.SIGCONT)

    def wait_for_finished(self, prompt: str) -> None:
        """Ask the database, which answers also while the web process stands still."""
        done = select(func.count()).select_from(jobs).where(jobs.c.prompt == prompt, SUCCEEDED)
        engine = db.open_engine(f"sqlite:///{self.folder}/studio.db")

        def arrived() -> bool:
            with db.reading(engine) as connection:
                return connection.execute(done).scalar_one() > 0

        try:
            wait_for(arrived)
        finally:
            engine.dispose()

    def files_mapped_by_the_web_process(self) -> str:
        return Path(f"/proc/{self._web.pid}/maps").read_text()

    def start_executor(self) -> None:
        name = f"executor-{len(self._executors)}.log"
        self._executors.append(self._start([sys.executable, "job_executor.py"], name))

    def stop_executors(self) -> None:
        for process in self._executors:
            _stop(process)
        self._executors.clear()

    def call(self, path: str, body: object = None, secret: str = "the-browser-tests") -> Any:
        """GET, or POST where there is a body, the JSON API."""
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self.stop_executors()
        _stop(self._web)

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=output, stderr=output)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    running = RunningStudio(tmp_path_factory.mktemp("studio"))
    try:
        running.wait_until_up()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def new_person(browser: Browser, studio: RunningStudio) -> Iterator[Callable[..., Page]]:
    """Opens the studio in a browser of its own: another person."""
    contexts: list[BrowserContext] = []

    def open_as_new_person(path: str = "/", **options: object) -> Page:
        contexts.append(browser.new_context(base_url=studio.url, reduced_motion="reduce", **options))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        page = contexts[-1].new_page()
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        return page

    yield open_as_new_person
    for context in contexts:
        context.close()


def wait_for(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
