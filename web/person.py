"""Who is it: an anonymous person, known by a secret that only their browser or program holds."""

import hashlib
import re
import secrets
from http.cookies import CookieError, SimpleCookie

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "studio_person"
ONE_YEAR_SECONDS = 365 * 24 * 3600
SECRET = re.compile(r"[A-Za-z0-9_\-.~+/=]{16,256}")


class RememberPerson:
    """ASGI middleware: gives every new browser a secret cookie, so that a reload finds its jobs again.

    A program may show its own secret instead: ``Authorization: Bearer <16 to 256 characters>``. The person's
    name, a hash of the secret, is put into ``scope["state"]["person"]``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = _secret_shown(Headers(scope=scope))
        secret = known or secrets.token_urlsafe(24)
        scope.setdefault("state", {})["person"] = person_of(secret)

        async def send_with_cookie(message: Message) -> None:
            if known is None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", _cookie(secret))
            await send(message)

        await self.app(scope, receive, send_with_cookie)


def person_of(secret: str) -> str:
    """The public name of whoever holds ``secret``: 32 hexadecimal digits that do not give it away."""
    return hashlib.sha256(secret.encode()).hexdigest()[:32]


def current_person() -> str:
    """The person looking at this page; where cookies are blocked, one that lasts until the next reload."""
    secret = str(st.context.cookies.get(COOKIE))
    if not SECRET.fullmatch(secret):
        secret = st.session_state.setdefault(COOKIE, secrets.token_urlsafe(24))
    return person_of(secret)


def _secret_shown(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and SECRET.fullmatch(token.strip()):
        return token.strip()
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and SECRET.fullmatch(morsel.value) else None


def _cookie(secret: str) -> str:
    return f"{COOKIE}={secret}; Path=/; Max-Age={ONE_YEAR_SECONDS}; HttpOnly; SameSite=Lax"
