import random
from collections.abc import Callable
from itertools import combinations

import pytest
from sqlalchemy import Engine

from jobs.queue import JobNotFound
from jobs.ratings import Contest, rate
from jobs.records import Job, Verdict
from jobs.votes import AlreadyVoted, Votes

Succeed = Callable[..., Job]


@pytest.fixture
def votes(engine: Engine) -> Votes:
    return Votes(engine, chance=random.Random(1))


def ids(pair: tuple[Job, Job] | None) -> set[str]:
    assert pair is not None
    return {job.id for job in pair}


def test_there_is_no_pair_without_two_results(votes: Votes, succeed: Succeed, ask: Succeed) -> None:
    assert votes.next_pair("ann") is None
    succeed()
    ask()
    assert votes.next_pair("ann") is None


def test_results_of_one_prompt_are_compared_first(votes: Votes, succeed: Succeed) -> None:
    for prompt in ("a tree", "a house", "a car", "A House"):
        succeed(prompt=prompt)

    left, right = votes.next_pair("ann")

    assert {left.prompt, right.prompt} == {"a house", "A House"}
    assert left.result is not None


def test_each_pair_is_shown_once_a_person_until_all_are_judged(votes: Votes, succeed: Succeed) -> None:
    results = {succeed(prompt=prompt).id for prompt in ("a", "a", "b", "b", "c")}
    judged = []
    while (pair := votes.next_pair("ann")) is not None:
        judged.append(frozenset(ids(pair)))
        votes.cast("ann", pair[0].id, pair[1].id, Verdict.NEITHER)

    assert sorted(map(sorted, judged)) == sorted(map(sorted, combinations(sorted(results), 2)))
    assert votes.next_pair("bob") is not None


def test_results_with_few_votes_come_first(votes: Votes, succeed: Succeed) -> None:
    old = [succeed(prompt="a tree") for _ in range(3)]
    for left, right in combinations(old, 2):
        votes.cast("ann", left.id, right.id, Verdict.LEFT)
    new = {succeed(prompt="a tree").id for _ in range(2)}

    assert ids(votes.next_pair("bob")) == new


def test_sides_and_pairs_change(votes: Votes, succeed: Succeed) -> None:
    for _ in range(4):
        succeed(prompt="a tree")

    shown = {(pair[0].id, pair[1].id) for pair in (votes.next_pair("ann") for _ in range(100)) if pair}

    assert len(shown) == 12, "every ordered pair of four"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_pair_is_judged_once_on_whichever_sides(votes: Votes, succeed: Succeed, swapped: bool) -> None:
    one, other = succeed(), succeed()
    votes.cast("ann", one.id, other.id, Verdict.LEFT)
    pair = (other.id, one.id) if swapped else (one.id, other.id)

    with pytest.raises(AlreadyVoted, match="a pair is judged once"):
        votes.cast("ann", *pair, Verdict.RIGHT)

    votes.cast("bob", *pair, Verdict.NEITHER)
    row = {standing.job.id: standing for standing in votes.standings().results}[one.id]
    assert (row.wins, row.losses, row.neither) == (1, 0, 1)


def test_only_two_different_results_can_be_judged(votes: Votes, succeed: Succeed, ask: Succeed) -> None:
    done, waiting = succeed(), ask()
    with pytest.raises(ValueError, match="two different results"):
        votes.cast("ann", done.id, done.id, Verdict.LEFT)
    for other in (waiting.id, "nowhere"):
        with pytest.raises(JobNotFound):
            votes.cast("ann", done.id, other, Verdict.LEFT)


def test_standings_put_the_better_first(votes: Votes, succeed: Succeed) -> None:
    best, middle, worst, unvoted = (succeed() for _ in range(4))
    for person in ("ann", "bob"):
        votes.cast(person, best.id, middle.id, Verdict.LEFT)
        votes.cast(person, worst.id, middle.id, Verdict.RIGHT)

    standings = votes.standings()

    assert [row.job.id for row in standings.results] == [best.id, middle.id, worst.id]
    assert [(row.wins, row.losses) for row in standings.results] == [(2, 0), (2, 2), (0, 2)]
    assert [row.rating > 1500 for row in standings.results] == [True, False, False]
    (group,) = standings.groups
    assert (group.generator, group.weights, group.wins, group.losses) == ("numpy", "sandbox", 4, 4)
    assert group.rating == pytest.approx(1500)


def test_nothing_voted_gives_empty_standings(votes: Votes, succeed: Succeed) -> None:
    succeed()
    assert votes.standings().results == []
    assert votes.standings().groups == []


def test_ratings_find_the_strengths_that_made_the_votes() -> None:
    chance = random.Random(3)
    strengths = {"a": 4.0, "b": 2.0, "c": 1.0, "d": 0.5}
    contests = []
    for _ in range(4000):
        one, other = chance.sample(sorted(strengths), 2)
        wins = chance.random() < strengths[one] / (strengths[one] + strengths[other])
        contests.append(Contest(one, other, one if wins else other))

    ratings = rate(contests)

    for one, other in combinations(strengths, 2):
        true = 2 ** ((ratings[one] - ratings[other]) / 400 * 3.3219)
        assert true == pytest.approx(strengths[one] / strengths[other], rel=0.2)


def test_being_found_wanting_lowers_both() -> None:
    ratings = rate([Contest("a", "b", None)])

    assert ratings["a"] == ratings["b"] < 1500
