"""Signing in with a real OpenID provider, a process of its own, in a real browser."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.conftest import PATIENCE_MS, RunningStudio, free_port, wait_for

pytestmark = pytest.mark.e2e

BOSS = {"sub": "boss", "name": "The Boss", "email": "boss@example.org", "email_verified": True}
IMPOSTOR = {"sub": "impostor", "name": "Impostor", "email": "boss@example.org", "email_verified": False}
ANN = {"sub": "ann", "name": "Ann <b>B.</b>", "email": "ann@example.org", "email_verified": True}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    port = free_port()
    users = [argument for user in (BOSS, IMPOSTOR, ANN) for argument in ("--user-claims", json.dumps(user))]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), *users],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def studio(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    folder, port = tmp_path_factory.mktemp("studio"), free_port()
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "secrets.toml").write_text(
        f"""
        [auth]
        redirect_uri = "http://localhost:{port}/oauth2callback"
        cookie_secret = "{"0123456789abcdef" * 2}"
        client_id = "studio"
        client_secret = "a secret between the two"
        server_metadata_url = "{provider}/.well-known/openid-configuration"
        """
    )
    running = RunningStudio(folder, port, HOME=str(folder), STUDIO_WEB__ADMINS="[boss@example.org]")
    try:
        wait_for(lambda: _answers(f"{provider}/.well-known/openid-configuration"))
        running.wait_until_up()
        yield running
    finally:
        running.stop()


def sign_in(page: Page, who: dict[str, Any]) -> None:
    page.goto("/account")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=who["sub"], exact=True).click()
    page.wait_for_url(re.compile(r"localhost:\d+/$"), timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/account")
    expect(page.get_by_text(who["name"], exact=True)).to_be_visible()


def me(page: Page) -> dict[str, Any]:
    return dict(page.request.get("/api/me").json())


def test_a_visitor_looks_and_is_told_to_sign_in(new_person: Callable[..., Page]) -> None:
    page = new_person()
    expect(page.get_by_text("You may not have pictures drawn without signing in")).to_be_visible()
    expect(page.get_by_role("button", name="Generate")).to_have_count(0)
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    assert me(page)["role"] == "visitor"
    answer = page.request.post("/api/jobs", data={"generator": "vqgan_clip", "parameters": {"prompt": "x"}})
    assert answer.status == 403


def test_who_signs_in_has_pictures_drawn_and_finds_them_again_elsewhere(
    new_person: Callable[..., Page], studio: RunningStudio
) -> None:
    page = new_person()
    sign_in(page, ANN)
    assert me(page)["role"] == "member"
    page.goto("/")
    page.get_by_label("Prompt", exact=True).fill("a red circle")
    page.get_by_role("button", name=re.compile("^Generate")).click()
    expect(page.get_by_text("You are next.")).to_be_visible()

    elsewhere = new_person()
    sign_in(elsewhere, ANN)
    assert me(elsewhere)["person"] == me(page)["person"]
    (job,) = elsewhere.request.get("/api/jobs?mine=true").json()["items"]
    assert job["prompt"] == "a red circle"

    page.goto("/account")
    page.get_by_role("button", name="Sign out").click()
    wait_for(lambda: me(page)["role"] == "visitor")
    assert page.request.get("/api/jobs?mine=true").json()["total"] == 0


def test_an_admin_is_who_has_proved_that_address(new_person: Callable[..., Page]) -> None:
    boss = new_person()
    sign_in(boss, BOSS)
    assert me(boss)["role"] == "admin"
    boss.get_by_role("link", name="Admin").click()
    expect(boss.get_by_text("Nothing is reported")).to_be_visible()
    expect(boss.get_by_role("cell", name="The Boss")).to_be_visible()

    impostor = new_person()
    sign_in(impostor, IMPOSTOR)
    assert me(impostor)["role"] == "member"
    impostor.goto("/admin")
    expect(impostor.get_by_text("an admin of the studio may")).to_be_visible()
    assert impostor.request.get("/api/reports").status == 403


def test_a_token_acts_for_its_maker_until_it_is_revoked(
    new_person: Callable[..., Page], studio: RunningStudio
) -> None:
    page = new_person()
    sign_in(page, ANN)
    page.get_by_label("What is it for?").fill("a test")
    page.get_by_role("button", name="Make a token").click()
    secret = page.locator("code").filter(has_text=re.compile("^sk_")).inner_text().strip()

    shown = studio.call("/me", secret=secret)
    assert (shown["person"], shown["role"]) == (me(page)["person"], "member")

    page.reload()
    expect(page.get_by_text("a test", exact=True)).to_be_visible()
    expect(page.get_by_text(secret)).to_have_count(0)
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("a test", exact=True)).to_have_count(0)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        studio.call("/me", secret=secret)


def test_no_page_asks_for_what_its_policy_forbids(browser: Browser, studio: RunningStudio) -> None:
    context = browser.new_context(base_url=studio.url)
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda m: refused.append(m.text) if "Content Security Policy" in m.text else None)
    for path in ("/", "/gallery", "/vote", "/weights", "/account"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/api/docs")
    expect(page.locator(".swagger-ui .info")).to_be_visible()
    context.close()
    assert refused == []


def test_a_websocket_from_another_site_is_closed(studio: RunningStudio) -> None:
    url = studio.url.replace("http", "ws") + "/_stcore/stream"
    with pytest.raises(InvalidStatus):
        connect(url, origin="https://evil.example", open_timeout=30).close()
    connect(url, origin=studio.url, open_timeout=30).close()


def test_what_a_client_writes_into_its_headers_gives_it_no_other_address(studio: RunningStudio) -> None:
    statuses = []
    for number in range(12):
        headers = {"Authorization": "Bearer sk_guess", "X-Forwarded-For": f"192.0.2.{number}"}
        request = urllib.request.Request(f"{studio.url}/api/me", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        statuses.append(refused.value.code)
    assert statuses[0] == 401
    assert statuses[-1] == 429


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
