"""Who may do what: by the address, the settings, and the role."""

from dataclasses import replace

import pytest

from jobs.people import TERMINAL, Identity, Role
from settings import Visitors, WebSettings
from web.permissions import RIGHTS, SCOPES, Caller, Openness, Right, Rules, Undecided, decide
from web.problems import NotAllowed

ANN = Identity("https://accounts.example", "1234", "Ann", "ann@example.org")
EVERYWHERE = [None, "", "0.0.0.0", "::", "192.168.1.5", "localhost.example", "studio.example"]


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_on_the_studios_own_machine_everyone_is_its_admin(address: str) -> None:
    rules = decide(WebSettings(), address, can_sign_in=False)
    assert rules.openness is Openness.OWN_MACHINE
    assert rules.rights_of(rules.role_of(None)) == frozenset(Right)


@pytest.mark.parametrize("address", EVERYWHERE)
def test_where_other_machines_reach_it_nothing_starts_undecided(address: str | None) -> None:
    with pytest.raises(Undecided, match=r"\[auth\] in .streamlit/secrets.toml.* --public"):
        decide(WebSettings(), address, can_sign_in=False)
    assert decide(WebSettings(public=True), address, can_sign_in=False).openness is Openness.PUBLIC
    assert decide(WebSettings(), address, can_sign_in=True).openness is Openness.SIGN_IN


@pytest.mark.parametrize(
    ("settings", "can_sign_in", "drawing"),
    [
        (WebSettings(public=True), False, True),
        (WebSettings(public=True, visitors_may=Visitors.look), False, False),
        (WebSettings(), True, False),
        (WebSettings(public=True), True, False),
        (WebSettings(visitors_may=Visitors.draw), True, True),
    ],
)
def test_visitors_draw_where_nobody_can_sign_in_or_where_the_setting_says_so(
    settings: WebSettings, can_sign_in: bool, drawing: bool
) -> None:
    rules = decide(settings, "0.0.0.0", can_sign_in=can_sign_in)
    rights = rules.rights_of(rules.role_of(None))
    assert rights == ({Right.LOOK, Right.DRAW, Right.VOTE, Right.REPORT} if drawing else {Right.LOOK})


@pytest.mark.parametrize("manage_weights", [None, True, False])
@pytest.mark.parametrize("role", Role)
def test_the_setting_says_who_manages_weights(role: Role, manage_weights: bool | None) -> None:
    rules = Rules(Openness.SIGN_IN, manage_weights=manage_weights)
    may = (role is Role.ADMIN) if manage_weights is None else manage_weights
    assert (Right.MANAGE_WEIGHTS in rules.rights_of(role)) is may
    assert (Right.READ_FILES in rules.rights_of(role)) is (role is Role.ADMIN)


@pytest.mark.parametrize("name", ["ann@example.org", "Ann@Example.org", "https://accounts.example 1234"])
def test_admins_are_named_by_email_or_by_issuer_and_subject(name: str) -> None:
    rules = decide(WebSettings(admins=[name]), None, can_sign_in=True)
    assert rules.role_of(ANN) is Role.ADMIN
    assert rules.role_of(None) is Role.VISITOR


@pytest.mark.parametrize(
    "impostor",
    [
        replace(ANN, email="", subject="5"),
        Identity("https://other.example", "1234"),
        Identity("https://accounts.example", "ann@example.org"),
        Identity("", ""),
    ],
)
def test_nobody_else_is_an_admin(impostor: Identity) -> None:
    named = ["ann@example.org", "https://accounts.example 1234", ""]
    rules = decide(WebSettings(admins=named), None, can_sign_in=True)
    assert rules.role_of(impostor) is Role.MEMBER


def test_who_was_let_in_at_the_terminal_is_an_admin() -> None:
    assert Rules(Openness.PUBLIC).role_of(Identity(TERMINAL, "root")) is Role.ADMIN


def test_a_role_may_all_that_a_smaller_one_may() -> None:
    assert RIGHTS[Role.VISITOR] < RIGHTS[Role.MEMBER] < RIGHTS[Role.ADMIN] == frozenset(Right)


def test_no_scope_makes_tokens_and_every_other_right_is_in_one() -> None:
    assert frozenset().union(*SCOPES.values()) == frozenset(Right) - {Right.OWN_TOKENS}


def test_a_refusal_says_what_to_do() -> None:
    visitor = Caller("someone", Role.VISITOR, RIGHTS[Role.VISITOR])
    visitor.require(Right.LOOK)
    with pytest.raises(NotAllowed, match="without signing in: do so on the page Account"):
        visitor.require(Right.DRAW)
    with pytest.raises(NotAllowed, match="an admin of the studio may"):
        visitor.require(Right.PAUSE)
    with pytest.raises(NotAllowed, match="This token may not vote"):
        replace(visitor, by_token=True).require(Right.VOTE)
