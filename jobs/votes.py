"""Which of two results fits its prompt better."""

from sqlalchemy import Engine

from jobs.records import Job, Standings, Verdict


class AlreadyVoted(Exception):
    """The person has judged this pair."""


class Votes:
    def __init__(self, engine: Engine) -> None: ...

    def next_pair(self, person: str) -> tuple[Job, Job] | None:
        raise NotImplementedError

    def cast(self, person: str, left_id: str, right_id: str, verdict: Verdict) -> None:
        """Raises AlreadyVoted, JobNotFound."""

    def standings(self) -> Standings:
        raise NotImplementedError
