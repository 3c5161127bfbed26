"""Who is it: somebody who has signed in, a program with a token, or an anonymous person with a secret."""

import hashlib
import re
import secrets
from collections.abc import Mapping

import anyio.to_thread
import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import DatabaseError
from jobs.people import Identity
from jobs.tokens import PREFIX
from web import address, sign_in, studio
from web.limits import Limits, too_much
from web.permissions import SCOPES, Caller, Openness, Right, Rules
from web.problems import STATUS, NotAllowed, TooMuch

COOKIE = "studio_person"
ONE_YEAR_SECONDS = 365 * 24 * 3600
SECRET = re.compile(r"[A-Za-z0-9_\-.~+/=]{16,256}")
NO_TOKEN = "This token is none: it was revoked, has expired, or never was one. Make one on the page Account."
NO_SECRETS = "Here programs need a token: sign in and make one on the page Account."


class RememberPerson:
    """ASGI middleware: puts who asks into ``scope["state"]["caller"]``, and the person's name beside it.

    Every new browser gets a secret cookie, so that a reload finds its jobs again; who signs in is known by
    that. A program shows a token, ``Authorization: Bearer sk_…``, or, where anonymous people may draw, a
    secret of its own choice, 16 to 256 characters. A person's name is a hash of what they are known by.
    """

    def __init__(self, app: ASGIApp, rules: Rules, limits: Limits) -> None:
        self.app = app
        self._rules = rules
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        state = scope.setdefault("state", {})
        client = str(state.get("address", ""))
        new_cookie = None
        try:
            shown = _bearer(asked.headers)
            if shown is not None and shown.startswith(PREFIX):
                caller = await anyio.to_thread.run_sync(self._by_token, shown, client)
            else:
                caller, new_cookie = self._by_secret(asked.cookies, shown, client)
        except TooMuch as problem:
            await too_much(problem)(scope, receive, send)
            return
        except NotAllowed as problem:
            challenge = {"WWW-Authenticate": "Bearer"}
            await JSONResponse({"error": str(problem)}, 401, challenge)(scope, receive, send)
            return
        except DatabaseError as problem:
            await JSONResponse({"error": str(problem)}, STATUS[DatabaseError])(scope, receive, send)
            return
        state["caller"], state["person"] = caller, caller.person

        async def send_with_cookie(message: Message) -> None:
            if new_cookie is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", new_cookie)
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def _by_token(self, secret: str, client: str) -> Caller:
        self._limits.check_failures(client)
        house = studio.current()
        token = house.tokens.shown(secret)
        if token is None:
            self._limits.note_failure(client)
            raise NotAllowed(NO_TOKEN)
        member = house.members.get(token.person)
        role = self._rules.role_of(member.identity if member else None)
        allowed: frozenset[Right] = frozenset().union(*(SCOPES[scope] for scope in token.scopes))
        return Caller(
            token.person,
            role,
            self._rules.rights_of(role) & allowed,
            client,
            True,
            signed_in=member is not None,
        )

    def _by_secret(
        self, cookies: Mapping[str, str], shown: str | None, client: str
    ) -> tuple[Caller, str | None]:
        """The caller, and the cookie to set for a new one."""
        identity = None
        if self._rules.openness is Openness.SIGN_IN:
            if shown is not None and not self._rules.visitors_draw:
                raise NotAllowed(NO_SECRETS)
            identity = sign_in.identity_in(cookies) if shown is None else None
        if identity is not None:
            return caller_of(self._rules, identity.person, identity, client), None
        known = shown or cookies.get(COOKIE, "")
        if SECRET.fullmatch(known):
            return caller_of(self._rules, person_of(known), None, client), None
        secret = secrets.token_urlsafe(24)
        return caller_of(self._rules, person_of(secret), None, client), _cookie(secret)


def person_of(secret: str) -> str:
    """The public name of whoever holds ``secret``: 32 hexadecimal digits that do not give it away."""
    return hashlib.sha256(secret.encode()).hexdigest()[:32]


def caller_of(rules: Rules, person: str, identity: Identity | None, client: str) -> Caller:
    """Somebody at a browser, with all rights of their role."""
    role = rules.role_of(identity)
    return Caller(person, role, rules.rights_of(role), client, signed_in=identity is not None)


def current_caller() -> Caller:
    """Who looks at this page; where cookies are blocked, a person who lasts until the next reload."""
    house = studio.current()
    client = st.context.headers.get(address.HEADER) or ""
    identity = current_identity()
    if identity is None:
        return caller_of(house.rules, person_of(_current_secret()), None, client)
    caller = caller_of(house.rules, identity.person, identity, client)
    if st.session_state.get("greeted") != identity.person:
        house.members.greet(identity, caller.role)
        st.session_state["greeted"] = identity.person
    return caller


def current_identity() -> Identity | None:
    """Who has signed in at this page, if anybody has."""
    if studio.current().rules.openness is not Openness.SIGN_IN:
        return None
    return sign_in.identity_of(st.user.to_dict())


def _current_secret() -> str:
    secret = str(st.context.cookies.get(COOKIE))
    if not SECRET.fullmatch(secret):
        secret = st.session_state.setdefault(COOKIE, secrets.token_urlsafe(24))
    return secret


def _bearer(headers: Headers) -> str | None:
    """What a program shows. What looks like a token, and cannot be one, is not taken for a secret."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    shown = shown.strip()
    if scheme.lower() != "bearer":
        return None
    return shown if SECRET.fullmatch(shown) or shown.startswith(PREFIX) else None


def _cookie(secret: str) -> str:
    return f"{COOKIE}={secret}; Path=/; Max-Age={ONE_YEAR_SECONDS}; HttpOnly; SameSite=Lax"
