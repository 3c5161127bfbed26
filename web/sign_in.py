"""Signing in by OpenID Connect, as ``[auth]`` in .streamlit/secrets.toml sets it up for ``st.login``."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from streamlit.auth_util import get_cookie_with_chunks, get_secrets_auth_section
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from jobs.people import TERMINAL, Identity

SHORTEST_SECRET = 32
_NEEDED = ("client_id", "client_secret", "server_metadata_url")


class SignInIncomplete(ValueError):
    """``[auth]`` is there, and something in it is missing; the text says what."""


def is_set_up() -> bool:
    """Whether people can sign in. Raises SignInIncomplete."""
    return bool(providers())


def providers() -> Sequence[str | None]:
    """What ``st.login`` takes, one for each provider; ``[None]`` where there is one without a name.

    Raises:
        SignInIncomplete: a value is missing, or the secret that signs the cookies is short enough to guess.
    """
    section: dict[str, Any] = get_secrets_auth_section().to_dict()
    if not section:
        return []
    if not section.get("redirect_uri"):
        raise _incomplete("redirect_uri is missing: set it to the studio's address with /oauth2callback")
    if len(str(section.get("cookie_secret", ""))) < SHORTEST_SECRET:
        raise _incomplete(f"cookie_secret has fewer than {SHORTEST_SECRET} characters: set a random one")
    named = {
        name: value for name, value in section.items() if isinstance(value, dict) and name != "client_kwargs"
    }
    for name, provider in (named or {"": section}).items():
        missing = [key for key in _NEEDED if not provider.get(key)]
        if missing:
            raise _incomplete(f"{'.'.join(filter(None, (name, missing[0])))} is missing: set it")
    return list(named) or [None]


def identity_in(cookies: Mapping[str, str]) -> Identity | None:
    """Who is there by the cookie that ``st.login`` left; None without one, or with a wrong signature."""

    def signed(name: str) -> bytes | None:
        value = cookies.get(name)
        secret = get_cookie_secret()
        if not value or not secret:
            return None
        return decode_signed_value(secret, name, value.encode("latin-1", "replace"))

    said = get_cookie_with_chunks(signed, USER_COOKIE_NAME)
    return None if said is None else identity_of(json.loads(said))


def identity_of(claims: Mapping[str, Any]) -> Identity | None:
    """Who a provider's claims name; None where nobody is signed in."""
    if claims.get("is_logged_in") is not True or claims.get("iss") in (None, "", TERMINAL):
        return None
    if not claims.get("sub"):
        return None
    verified = claims.get("email_verified") in (True, "true")
    email = str(claims.get("email") or "")
    name = claims.get("name") or claims.get("preferred_username") or email or claims["sub"]
    return Identity(str(claims["iss"]), str(claims["sub"]), str(name), email if verified else "")


def _incomplete(what: str) -> SignInIncomplete:
    return SignInIncomplete(f"Sign-in is not complete, in [auth] of .streamlit/secrets.toml {what}.")
