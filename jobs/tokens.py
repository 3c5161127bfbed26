"""Tokens: secrets by which programs act for a person, within scopes.

Only the SHA-256 of a token is kept. A slow hash would protect what people choose, which can be guessed; a
token is 256 random bits, which nobody finds by trying, however fast the hash is. It is looked up by that
hash, so how long the lookup takes tells nothing of the token.
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, Row, func, insert, or_, select, update

from db import reading, writing
from db.tables import api_tokens
from jobs.clock import Clock, utc_now

PREFIX = "sk_"
MAX_NAME = 60
MAX_A_PERSON = 50
SCOPES = ("read", "draw", "vote", "manage")
_NOTE_USE_AFTER = timedelta(minutes=1)


class TokenRefused(ValueError):
    """A token cannot be made like that; the text says why."""


class TokenNotFound(LookupError):
    """The person has no such token."""

    def __init__(self) -> None:
        super().__init__("You have no such token: it was revoked, or never was yours.")


@dataclass(frozen=True)
class Token:
    """A token without its secret; ``used_at`` is about a minute exact."""

    id: str
    person: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None


class Tokens:
    """Everybody's tokens. Every method raises ``db.DatabaseError`` when it must."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def make(
        self, person: str, name: str, scopes: Collection[str], lasting: timedelta | None = None
    ) -> tuple[Token, str]:
        """A new token and its secret, which is never shown again; None lasts until it is revoked.

        Raises:
            TokenRefused: the name is empty or too long, a scope is unknown or none was given, or the person
                has too many.
        """
        name = " ".join(name.split())
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise TokenRefused(f"The name of a token has 1 to {MAX_NAME} letters: type one.")
        if not scopes or not set(scopes) <= set(SCOPES):
            raise TokenRefused(f"A token has one scope or more of {', '.join(SCOPES)}: choose.")
        if lasting is not None and lasting <= timedelta(0):
            raise TokenRefused("A token has to last for some time: choose when it expires.")
        secret, now = PREFIX + secrets.token_urlsafe(32), self._clock()
        chosen = tuple(scope for scope in SCOPES if scope in scopes)
        expires_at = now + lasting if lasting else None
        token = Token(secrets.token_hex(8), person, name, chosen, now, None, expires_at)
        row = {
            "id": token.id,
            "person": person,
            "name": name,
            "hash": _hash(secret),
            "scopes": " ".join(chosen),
            "created_at": now,
            "expires_at": expires_at,
        }
        with writing(self._engine) as connection:
            valid = select(func.count()).where(api_tokens.c.person == person, *_valid(now))
            if connection.execute(valid).scalar_one() >= MAX_A_PERSON:
                raise TokenRefused(f"You have {MAX_A_PERSON} tokens, as many as one may: revoke one.")
            connection.execute(insert(api_tokens), row)
        return token, secret

    def of(self, person: str) -> Sequence[Token]:
        """A person's valid tokens, newest first."""
        mine = select(api_tokens).where(api_tokens.c.person == person, *_valid(self._clock()))
        with reading(self._engine) as connection:
            return [_token(row) for row in connection.execute(mine.order_by(api_tokens.c.created_at.desc()))]

    def revoke(self, person: str, token_id: str) -> None:
        """End one of the person's own, at once. Raises TokenNotFound."""
        now = self._clock()
        mine = update(api_tokens).where(
            api_tokens.c.person == person, api_tokens.c.id == token_id, *_valid(now)
        )
        with writing(self._engine) as connection:
            if connection.execute(mine.values(revoked_at=now)).rowcount == 0:
                raise TokenNotFound

    def shown(self, secret: str) -> Token | None:
        """The valid token with that secret, its use noted; None where there is none."""
        now = self._clock()
        with reading(self._engine) as connection:
            found = select(api_tokens).where(api_tokens.c.hash == _hash(secret), *_valid(now))
            row = connection.execute(found).one_or_none()
        if row is None:
            return None
        if row.used_at is None or now - row.used_at > _NOTE_USE_AFTER:
            with writing(self._engine, lasting=False) as connection:
                used = update(api_tokens).where(api_tokens.c.id == row.id)
                connection.execute(used.values(used_at=now))
        return _token(row)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _valid(now: datetime) -> tuple[ColumnElement[bool], ...]:
    lasts = or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > now)
    return api_tokens.c.revoked_at.is_(None), lasts


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        row.id, row.person, row.name, tuple(row.scopes.split()), row.created_at, row.used_at, row.expires_at
    )
