"""Half a minute of ``benchmarks/chaos.py`` on each database; run that for longer."""

from pathlib import Path

import pytest

from benchmarks.chaos import Plan, run


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_people_were_told_stays_true_while_processes_are_killed(database: str, tmp_path: Path) -> None:
    report = run(Plan(minutes=0.5, database=database, seed=7), tmp_path)

    assert report.broken == []
    assert report.figures.get("executors killed")
