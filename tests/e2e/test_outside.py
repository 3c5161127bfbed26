"""The web server as those see it who keep it running: its health, its metrics and its log."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningStudio, wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    running = RunningStudio(tmp_path_factory.mktemp("studio"), STUDIO_LOG_FORMAT="json")
    try:
        running.wait_until_up()
        yield running
    finally:
        running.stop()


def get(studio: RunningStudio, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(studio.url + path, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def written(studio: RunningStudio) -> list[dict[str, str]]:
    """The lines of the log but for the greeting, which tells people the address."""
    lines = (studio.folder / "web.log").read_text().rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in lines if line.strip() and not line.startswith("  ")]


def errors(studio: RunningStudio) -> list[dict[str, str]]:
    return [line for line in written(studio) if line["level"] == "ERROR"]


def test_a_fresh_studio_is_alive_ready_and_measured(studio: RunningStudio) -> None:
    assert get(studio, "/health") == (200, '{"alive":true}')
    status, body = get(studio, "/ready")
    assert (status, [check["ready"] for check in json.loads(body)["checks"]]) == (200, [True, True])
    status, body = get(studio, "/metrics")
    assert status == 200
    assert 'studio_jobs{state="queued"} 0.0' in body


def test_what_goes_wrong_with_a_job_is_one_line_with_its_name(studio: RunningStudio) -> None:
    sample = studio.call("/jobs")["items"][0]["id"]
    animation = next(Path(studio.folder, "artifacts", "jobs", sample).glob("*.gif"))
    animation.write_bytes(b"damaged")

    assert get(studio, f"/api/jobs/{sample}/animation.mp4")[0] == 500

    wait_for(lambda: errors(studio))
    (failure,) = errors(studio)
    assert failure["job"] == sample
    assert failure["message"] == f"GET /api/jobs/{sample}/animation.mp4 failed"
    assert failure["traceback"].startswith("Traceback")
