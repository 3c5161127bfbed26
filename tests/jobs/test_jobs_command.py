"""``python -m jobs``: what one does to the queue from a terminal."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from jobs.__main__ import main
from jobs.queue import Queue
from jobs.records import Job, JobState
from jobs.tokens import Tokens

Ask = Callable[..., Job]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> list[str]:
    return [f"database_url={database_url}", f"artifact_url={tmp_path}/artifacts"]


def test_pausing_and_resuming(settings: list[str], queue: Queue) -> None:
    assert main(["pause", *settings]) == 0
    assert queue.paused() is not None
    assert main(["resume", *settings]) == 0
    assert queue.paused() is None


def test_a_failed_job_is_put_back(
    settings: list[str], queue: Queue, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ask()
    assert main(["again", job.id, *settings]) == 1
    assert "Only a failed job can be asked for again" in capsys.readouterr().err
    claim = queue.claim("executor")
    assert claim is not None
    queue.fail(claim, "No such luck.")

    assert main(["again", job.id, *settings]) == 0
    assert queue.get(job.id).state is JobState.QUEUED


def test_a_token_is_made_and_ended(
    settings: list[str], engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "a robot", "--scope", "read", "--scope", "draw", "--days", "1", *settings]) == 0
    secret, sentence = capsys.readouterr().out.splitlines()
    token = Tokens(engine).shown(secret)
    assert token is not None
    assert (token.name, token.scopes) == ("a robot", ("read", "draw"))

    assert main(["revoke", sentence.rsplit(" ", 1)[1], *settings]) == 0
    assert Tokens(engine).shown(secret) is None
    assert main(["revoke", token.id, *settings]) == 1
    assert "You have no such token" in capsys.readouterr().err


def test_without_a_setting_retention_keeps_everything(
    settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["retention", *settings]) == 0
    assert "Everything is kept" in capsys.readouterr().out


@pytest.mark.parametrize("days", ["0", "-1", "nan", "1e10", "soon"])
def test_a_token_lasts_for_a_time_that_can_be_meant(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["token", "a robot", "--scope", "read", "--days", days])

    assert refusal.value.code == 2
    assert "--days" in capsys.readouterr().err
