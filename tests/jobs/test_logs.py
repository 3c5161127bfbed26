"""What executor processes write down: every line in which a job is at work names the job."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import db
from jobs.records import Job, JobState
from settings import ROOT
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import load, quick_settings, start_executor, wait_until

NOISY = Path(__file__).with_name("noisy_executor.py")

Written = Callable[..., tuple[list[Job], list[str]]]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Has an executor draw two jobs, the second in trouble; returns them and the lines of its log."""

    def written(log_format: str) -> tuple[list[Job], list[str]]:
        arguments = quick_settings(tmp_path, f"log_format={log_format}", "queue.max_attempts=1")
        db.migrate(load(arguments).database_url)
        queue, log = open_queue(load(arguments)), tmp_path / "executor.log"
        spec = {"prompt": "two\nlines", "weights": "none", "seed": 1, "steps": 4}
        jobs = queue.enqueue_all("numpy", [spec, spec | {"trouble": "bug"}], submitter="ann")
        process = start_executor(arguments, log, NOISY)
        try:
            wait_until(lambda: all(queue.get(job.id).state.is_final for job in jobs), "both have ended")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
        assert [queue.get(job.id).state for job in jobs] == [JobState.SUCCEEDED, JobState.FAILED]
        return jobs, log.read_text().splitlines()

    return written


def test_every_line_in_which_a_job_is_at_work_names_it(written: Written) -> None:
    jobs, lines = written("json")
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]

    at_work = [
        line for line in told if "takes jobs" not in line["message"] and "leaves" not in line["message"]
    ]
    assert [line["message"].split(" ")[0] for line in told if line not in at_work] == ["executor"] * 2
    assert {line["job"] for line in at_work} == {job.id for job in jobs}
    assert {line["attempt"] for line in at_work} == {1}
    assert len({line["executor"] for line in told}) == 1
    first = [line["logger"] for line in at_work if line["job"] == jobs[0].id]
    assert first == ["jobs.executor", "some.library", "py.warnings", "jobs.executor"]


def test_a_line_tells_its_time_in_utc_its_level_and_its_traceback(written: Written) -> None:
    _, lines = written("json")
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]

    assert {datetime.fromisoformat(line["time"]).utcoffset() for line in told} == {timedelta(0)}
    (failure,) = [line for line in told if line["level"] == "ERROR"]
    assert failure["message"] == "attempt 1 failed"
    assert failure["traceback"].startswith("Traceback (most recent call last)")
    assert failure["traceback"].endswith("RuntimeError: No such luck.")


def test_the_text_stays_readable(written: Written) -> None:
    jobs, lines = written("text")

    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    start = rf"{at} INFO    job {jobs[0].id}: attempt 1 at 'two\\nlines'"
    assert any(re.fullmatch(start, line) for line in lines), lines
    assert any(re.fullmatch(rf"{at} INFO    job {jobs[0].id}: finished", line) for line in lines), lines
    assert "RuntimeError: No such luck." in lines


def test_an_error_that_nobody_caught_is_a_line_too() -> None:
    program = "import logs; logs.start('json'); raise RuntimeError('out of the blue')"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    line = json.loads(ended.stderr)
    assert (ended.returncode, line["level"]) == (1, "CRITICAL")
    assert line["traceback"].endswith("RuntimeError: out of the blue")


def test_an_executor_shows_that_it_lives_until_it_leaves(tmp_path: Path) -> None:
    alive, log = tmp_path / "alive", tmp_path / "executor.log"
    arguments = quick_settings(tmp_path, f"executor.alive_file={alive}")
    db.migrate(load(arguments).database_url)
    process = start_executor(arguments, log)
    try:
        wait_until(alive.exists, "the executor lives")
        first = alive.stat().st_mtime_ns
        wait_until(lambda: alive.stat().st_mtime_ns > first, "it lives on")
        process.send_signal(signal.SIGSTOP)
        frozen = alive.stat().st_mtime_ns
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: alive.stat().st_mtime_ns > frozen, "it woke up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert not alive.exists()
