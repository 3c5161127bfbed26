"""Buckets that fill with time."""

import pytest

from jobs.people import Role
from settings import LimitSettings
from tests.web.conftest import RULES
from web.limits import Kind, Limits
from web.permissions import Caller, Openness, Rules
from web.problems import TooManyFromHere, TooMuch

PUBLIC = Rules(Openness.PUBLIC)


class Seconds:
    """Stands still until it is turned."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def limits(seconds: Seconds) -> Limits:
    settings = LimitSettings(submissions_per_minute=6, failures_per_minute=2, max_waiting_per_address=3)
    return Limits(settings, PUBLIC, clock=seconds)


def caller(person: str = "ann", address: str = "192.0.2.1", *, signed_in: bool = False) -> Caller:
    return Caller(person, Role.VISITOR, frozenset(), address, signed_in=signed_in)


def test_so_many_in_a_row_then_one_for_every_part_of_the_minute(limits: Limits, seconds: Seconds) -> None:
    limits.take(Kind.SUBMISSIONS, caller(), 6)
    with pytest.raises(TooMuch) as refused:
        limits.take(Kind.SUBMISSIONS, caller())
    assert refused.value.seconds == 10
    seconds.now = 9.9
    with pytest.raises(TooMuch):
        limits.take(Kind.SUBMISSIONS, caller())
    seconds.now = 10.0
    limits.take(Kind.SUBMISSIONS, caller())
    seconds.now = 3600.0
    limits.take(Kind.SUBMISSIONS, caller(), 6)
    with pytest.raises(TooMuch):
        limits.take(Kind.SUBMISSIONS, caller())


def test_what_was_refused_costs_nothing(limits: Limits) -> None:
    limits.take(Kind.SUBMISSIONS, caller(), 4)
    with pytest.raises(TooMuch):
        limits.take(Kind.SUBMISSIONS, caller(), 3)
    limits.take(Kind.SUBMISSIONS, caller(), 2)


def test_more_at_once_than_a_full_bucket_holds_takes_all_of_it(limits: Limits) -> None:
    limits.take(Kind.SUBMISSIONS, caller(), 16)
    with pytest.raises(TooMuch):
        limits.take(Kind.SUBMISSIONS, caller())


@pytest.mark.parametrize("same", [{"person": "ann"}, {"address": "192.0.2.1"}])
def test_a_person_and_an_address_have_a_bucket_each(limits: Limits, same: dict[str, str]) -> None:
    limits.take(Kind.SUBMISSIONS, caller(), 6)
    with pytest.raises(TooMuch):
        limits.take(Kind.SUBMISSIONS, caller(**{"person": "ben", "address": "198.51.100.1", **same}))
    limits.take(Kind.SUBMISSIONS, caller("cem", "198.51.100.2"), 6)


def test_after_failures_an_address_waits(limits: Limits, seconds: Seconds) -> None:
    for _ in range(2):
        limits.check_failures("192.0.2.1")
        limits.note_failure("192.0.2.1")
    with pytest.raises(TooMuch):
        limits.check_failures("192.0.2.1")
    limits.check_failures("192.0.2.2")
    seconds.now = 30.0
    limits.check_failures("192.0.2.1")


def test_waiting_jobs_of_all_who_have_not_signed_in_count_for_their_address(limits: Limits) -> None:
    waiting = {"ann": 2, "ben": 1, "elsewhere": 9}

    def count(people: list[str]) -> int:
        return sum(waiting.get(person, 0) for person in people)

    limits.check_waiting(caller("ann"), 1, count)
    with pytest.raises(TooManyFromHere, match="sign in"):
        limits.check_waiting(caller("ben"), 1, count)
    limits.check_waiting(caller("ben", signed_in=True), 50, count)
    limits.check_waiting(caller("ben", "198.51.100.1"), 2, count)


def test_who_is_refused_makes_nobody_forgotten_whose_jobs_wait(limits: Limits) -> None:
    def count(people: list[str]) -> int:
        return 3 if "ann" in people else 0

    limits.check_waiting(caller("ann"), 3, lambda _people: 0)
    for number in range(1000):
        with pytest.raises(TooManyFromHere):
            limits.check_waiting(caller(f"cookie {number}"), 1, count)


def test_on_ones_own_machine_nothing_counts() -> None:
    limits = Limits(LimitSettings(submissions_per_minute=1), RULES)
    for _ in range(10):
        limits.take(Kind.SUBMISSIONS, caller())
