"""Which of two results fits its prompt better: pairs to judge, votes, and standings."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from db import reading, writing
from db.tables import SUCCEEDED, jobs, results, votes
from jobs.clock import Clock, utc_now
from jobs.queue import JobNotFound
from jobs.ratings import Contest, rate
from jobs.records import GroupStanding, Job, Standing, Standings, Verdict
from jobs.rows import job_from, seen_by, select_results

Pair = tuple[str, str]


class AlreadyVoted(Exception):
    """The person has judged this pair."""

    def __init__(self) -> None:
        super().__init__("You have judged this pair already; a pair is judged once.")


class Votes:
    """Judgements of pairs of results, each pair once a person."""

    def __init__(
        self, engine: Engine, *, clock: Clock = utc_now, chance: random.Random | None = None
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._chance = chance or random.Random()

    def next_pair(self, person: str) -> tuple[Job, Job] | None:
        """Two results that the person has not judged together, sides by chance; None when all are judged.

        Results of the same prompt come first; among equals, those with the fewest votes, then chance.
        """
        shown = select(jobs.c.id, jobs.c.prompt).select_from(jobs.join(results))
        shown = shown.where(SUCCEEDED, seen_by(None))
        with reading(self._engine) as connection:
            prompts = {row.id: row.prompt.casefold() for row in connection.execute(shown)}
            cast = connection.execute(select(votes.c.person, votes.c.low_id, votes.c.high_id)).all()
            counts = Counter(job_id for vote in cast for job_id in (vote.low_id, vote.high_id))
            judged = {(vote.low_id, vote.high_id) for vote in cast if vote.person == person}
            order = sorted(prompts, key=lambda job_id: (counts[job_id], self._chance.random()))
            pair = next((pair for pair in _pairs(order, prompts) if _ordered(*pair) not in judged), None)
            if pair is None:
                return None
            found = select_results().where(jobs.c.id.in_(pair))
            left, right = [job_from(row) for row in connection.execute(found)]
        return (left, right) if self._chance.random() < 0.5 else (right, left)

    def cast(self, person: str, left_id: str, right_id: str, verdict: Verdict) -> None:
        """Keep a judgement.

        Raises:
            AlreadyVoted: the person has judged this pair, on whichever sides it stood.
            JobNotFound: one of the two is no result.
            ValueError: the two are the same.
        """
        if left_id == right_id:
            raise ValueError("A pair needs two different results.")
        low, high = _ordered(left_id, right_id)
        winner = {Verdict.LEFT: left_id, Verdict.RIGHT: right_id, Verdict.NEITHER: None}[verdict]
        row = {"person": person, "low_id": low, "high_id": high, "winner_id": winner}
        with writing(self._engine) as connection:
            pair = select(jobs.c.id).select_from(jobs.join(results))
            pair = pair.where(jobs.c.id.in_((low, high)), SUCCEEDED, seen_by(None))
            missing = {low, high} - set(connection.execute(pair).scalars())
            if missing:
                raise JobNotFound(min(missing))
            try:
                connection.execute(insert(votes), {**row, "created_at": self._clock()})
            except IntegrityError as error:
                raise AlreadyVoted from error

    def standings(self) -> Standings:
        """All results that were voted on, and all their kinds, each best first."""
        with reading(self._engine) as connection:
            cast = connection.execute(select(votes.c.low_id, votes.c.high_id, votes.c.winner_id)).all()
            voted = {job_id for vote in cast for job_id in (vote.low_id, vote.high_id)}
            shown = select_results().where(SUCCEEDED, seen_by(None))
            rows = connection.execute(shown).all() if cast else []
        by_id = {job.id: job for job in map(job_from, rows) if job.id in voted}
        contests = [
            Contest(vote.low_id, vote.high_id, vote.winner_id)
            for vote in cast
            if vote.low_id in by_id and vote.high_id in by_id
        ]
        return Standings(_by_result(contests, by_id), _by_group(contests, by_id))


def _pairs(order: list[str], prompts: dict[str, str]) -> Iterator[Pair]:
    """Pairs of one prompt, then all others; each kind with the earliest in ``order`` first."""
    of_prompt = defaultdict(list)
    for job_id in order:
        of_prompt[prompts[job_id]].append(job_id)
    for job_id in order:
        alike = of_prompt[prompts[job_id]]
        alike.pop(0)  # job_id itself, for both lists have one order
        yield from ((job_id, other) for other in alike)
    yield from (pair for pair in combinations(order, 2) if prompts[pair[0]] != prompts[pair[1]])


def _ordered(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


@dataclass
class _Tally:
    wins: int = 0
    losses: int = 0
    neither: int = 0

    def add(self, other: "_Tally") -> None:
        self.wins += other.wins
        self.losses += other.losses
        self.neither += other.neither


def _tallies(contests: list[Contest[str]]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for contest in contests:
        for player in (contest.one, contest.other):
            tally = tallies[player]
            tally.neither += contest.winner is None
            tally.wins += contest.winner == player
            tally.losses += contest.winner not in (None, player)
    return tallies


def _by_result(contests: list[Contest[str]], by_id: dict[str, Job]) -> list[Standing]:
    ratings = rate(contests)
    tallies = _tallies(contests).items()
    rows = [Standing(by_id[i], t.wins, t.losses, t.neither, ratings[i]) for i, t in tallies]
    return sorted(rows, key=lambda row: -row.rating)


def _by_group(contests: list[Contest[str]], by_id: dict[str, Job]) -> list[GroupStanding]:
    group_of = {job_id: (job.generator, job.weights) for job_id, job in by_id.items()}
    ratings = rate(
        [Contest(group_of[c.one], group_of[c.other], c.winner and group_of[c.winner]) for c in contests]
    )
    tallies: dict[tuple[str, str], _Tally] = defaultdict(_Tally)
    for job_id, tally in _tallies(contests).items():
        tallies[group_of[job_id]].add(tally)
    rows = [GroupStanding(*g, t.wins, t.losses, t.neither, ratings[g]) for g, t in tallies.items()]
    return sorted(rows, key=lambda row: -row.rating)
