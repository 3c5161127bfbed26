"""People: who has signed in, under which name their jobs stand, and the roles that there are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from db import reading, writing
from db.tables import members
from jobs.clock import Clock, utc_now

TERMINAL = "terminal"
"""The issuer of who was let in on the studio's own machine."""


class Role(StrEnum):
    """What a person is to the studio."""

    VISITOR = "visitor"
    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True)
class Identity:
    """Who an OpenID provider says it is; ``email`` is empty unless the provider has verified it."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""

    @property
    def person(self) -> str:
        """The name that jobs and votes carry: the same whenever the same person signs in.

        No secret of an anonymous person is spelled like this, for none holds a line break.
        """
        return hashlib.sha256(f"member\n{self.issuer}\n{self.subject}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Member:
    """Somebody who has signed in, and the role that they had when they were last seen."""

    person: str
    identity: Identity
    role: Role
    created_at: datetime
    seen_at: datetime


class Members:
    """Everybody who has ever signed in. Every method raises ``db.DatabaseError`` when it must."""

    def __init__(self, engine: Engine, *, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._clock = clock

    def greet(self, identity: Identity, role: Role) -> None:
        """Note that somebody is here."""
        now = self._clock()
        seen = {
            "name": identity.name[:255],
            "email": identity.email[:255],
            "role": role.value,
            "seen_at": now,
        }
        key = {"issuer": identity.issuer, "subject": identity.subject}
        again = update(members).where(members.c.person == identity.person).values(seen)
        with writing(self._engine) as connection:
            if connection.execute(again).rowcount:
                return
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    insert(members).values(person=identity.person, created_at=now, **key, **seen)
                )
        except IntegrityError:  # another page of theirs was quicker
            return

    def get(self, person: str) -> Member | None:
        """The member of that name; None for anonymous people."""
        with reading(self._engine) as connection:
            row = connection.execute(select(members).where(members.c.person == person)).one_or_none()
        return None if row is None else _member(row)

    def all(self) -> Sequence[Member]:
        """Everybody, who was here last first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(members).order_by(members.c.seen_at.desc(), members.c.person))
            return [_member(row) for row in rows]

    def let_in(self, user: str) -> str:
        """An admin who works on the studio's own machine as ``user``; returns the person's name."""
        identity = Identity(TERMINAL, user, name=user)
        self.greet(identity, Role.ADMIN)
        return identity.person


def _member(row: Row[tuple[object, ...]]) -> Member:
    identity = Identity(row.issuer, row.subject, row.name, row.email)
    return Member(row.person, identity, Role(row.role), row.created_at, row.seen_at)
