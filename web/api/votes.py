"""Which of two results fits its prompt better."""

from fastapi import APIRouter

from web.api.answers import CONFLICT, NOT_FOUND, House, Person, may
from web.api.models import JobView, NewVote, Pair, StandingsView
from web.permissions import Right
from web.problems import Conflict

router = APIRouter(tags=["votes"])


@router.get("/votes/pair", dependencies=[may(Right.LOOK)])
def next_pair(house: House, person: Person) -> Pair:
    """Two results that you have not compared yet."""
    pair = house.votes.next_pair(person)
    if pair is None:
        return Pair()
    return Pair(left=JobView.of(pair[0], person), right=JobView.of(pair[1], person))


@router.post("/votes", status_code=201, responses=NOT_FOUND | CONFLICT, dependencies=[may(Right.VOTE)])
def cast(new: NewVote, house: House, person: Person) -> NewVote:
    """Say which of two results fits its prompt better; once for each pair."""
    if new.left == new.right:
        raise Conflict("A pair needs two different results.")
    house.votes.cast(person, new.left, new.right, new.verdict)
    return new


@router.get("/votes", dependencies=[may(Right.LOOK)])
def standings(house: House, person: Person) -> StandingsView:
    """How all results, generators and weights stand."""
    return StandingsView.of(house.votes.standings(), person)
