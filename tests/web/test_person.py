"""A person is who holds a secret: a cookie, or one that a program brings."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from settings import LimitSettings
from tests.web.conftest import RULES
from web.limits import Limits
from web.person import COOKIE, RememberPerson, person_of

SECRET = "a-secret-of-my-own"


def who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.person)


@pytest.fixture
def browser() -> TestClient:
    return TestClient(
        RememberPerson(Starlette(routes=[Route("/", who)]), RULES, Limits(LimitSettings(), RULES))
    )


def test_a_browser_keeps_the_person_it_was_given(browser: TestClient) -> None:
    first = browser.get("/")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    second = browser.get("/")
    assert second.text == first.text
    assert "set-cookie" not in second.headers


def test_two_browsers_are_two_people(browser: TestClient) -> None:
    other = TestClient(browser.app)
    assert other.get("/").text != browser.get("/").text


def test_the_name_does_not_give_the_secret_away(browser: TestClient) -> None:
    name = browser.get("/").text
    assert browser.cookies[COOKIE] not in name
    assert name == person_of(browser.cookies[COOKIE])


def test_a_program_brings_its_own_secret(browser: TestClient) -> None:
    answer = browser.get("/", headers={"Authorization": f"Bearer {SECRET}"})
    assert answer.text == person_of(SECRET)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("odd", ['theme={"a": 1}', "a=b c", "a", "(=)", '"', "päth=1"])
def test_a_browser_is_known_whatever_other_cookies_it_has(browser: TestClient, odd: str) -> None:
    cookies = f"{odd}; {COOKIE}={SECRET}; {odd}"
    assert browser.get("/", headers={"Cookie": cookies.encode()}).text == person_of(SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer short"},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": f"Bearer {'x' * 257}"},
        {"Cookie": f"{COOKIE}=short"},
        {"Cookie": f'{COOKIE}="has spaces; and more'},
    ],
)
def test_a_secret_that_is_none_makes_a_new_person(browser: TestClient, headers: dict[str, str]) -> None:
    first, second = (browser.get("/", headers=headers) for _ in range(2))
    assert "set-cookie" in first.headers
    browser.cookies.clear()
    assert first.text != person_of(SECRET)
    assert second.status_code == 200
