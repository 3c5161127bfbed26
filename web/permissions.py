"""Who may do what: every role's rights as one table, and the one place where a right is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from ipaddress import ip_address

from jobs.people import TERMINAL, Identity, Role
from settings import Visitors, WebSettings
from web.problems import NotAllowed


class Right(StrEnum):
    """What one may do; each completes the sentence "You may …"."""

    LOOK = "look at the gallery"
    DRAW = "have pictures drawn"
    VOTE = "vote"
    REPORT = "star and report pictures"
    OWN_TOKENS = "make tokens"
    SEE_SYSTEM = "see the system"
    MANAGE_WEIGHTS = "install and remove weights"
    READ_FILES = "name files on the studio's machine"
    PAUSE = "pause the queue"
    SETTLE_REPORTS = "see and settle reports"
    MODERATE = "hide and delete other people's pictures"


_TAKING_PART = frozenset({Right.LOOK, Right.DRAW, Right.VOTE, Right.REPORT})

RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VISITOR: frozenset({Right.LOOK}),
    Role.MEMBER: _TAKING_PART | {Right.OWN_TOKENS, Right.SEE_SYSTEM},
    Role.ADMIN: frozenset(Right),
}

SCOPES: Mapping[str, frozenset[Right]] = {
    "read": frozenset({Right.LOOK, Right.SEE_SYSTEM}),
    "draw": frozenset({Right.DRAW}),
    "vote": frozenset({Right.VOTE, Right.REPORT}),
    "manage": frozenset(
        {Right.MANAGE_WEIGHTS, Right.READ_FILES, Right.PAUSE, Right.SETTLE_REPORTS, Right.MODERATE}
    ),
}
"""What a token's scopes allow of the rights that its person has. No token makes tokens."""

WHY_NO_WEIGHTS = (
    "Here weights are installed and removed by whoever runs the studio: with python -m weights, or on this "
    "page by an admin, or by everybody where the setting web.manage_weights is true."
)


class Undecided(ValueError):
    """Other machines would reach the studio, and nobody has said who may use it."""

    def __init__(self, address: str | None) -> None:
        super().__init__(
            f"The studio would be reached from other machines at {address or 'every address'}, and nobody "
            "has said who may use it: set up sign-in ([auth] in .streamlit/secrets.toml, see SECURITY.md), "
            "or open it to everyone with the setting web.public=true (./set_up_env.sh --public)."
        )


class Openness(Enum):
    """Whom the studio is open to."""

    OWN_MACHINE = auto()
    """Whoever works on the studio's own machine, as its admin."""
    SIGN_IN = auto()
    """Members and admins, who sign in; others as ``web.visitors_may`` says."""
    PUBLIC = auto()
    """Everyone, as a visitor."""


@dataclass(frozen=True)
class Rules:
    """Who is what, and what they may: the settings, decided."""

    openness: Openness
    visitors_draw: bool = True
    admins: frozenset[str] = frozenset()
    manage_weights: bool | None = None

    def role_of(self, identity: Identity | None) -> Role:
        """The role of who has signed in, or of an anonymous person."""
        if identity is None:
            return Role.ADMIN if self.openness is Openness.OWN_MACHINE else Role.VISITOR
        names = {identity.email.casefold(), f"{identity.issuer} {identity.subject}"} - {""}
        return Role.ADMIN if identity.issuer == TERMINAL or names & self.admins else Role.MEMBER

    def rights_of(self, role: Role) -> frozenset[Right]:
        """All that a role may do here."""
        rights = RIGHTS[role]
        if role is Role.VISITOR and self.visitors_draw:
            rights |= _TAKING_PART
        if self.manage_weights is not None:
            weights = frozenset({Right.MANAGE_WEIGHTS})
            rights = rights | weights if self.manage_weights else rights - weights
        return rights


@dataclass(frozen=True)
class Caller:
    """Who asks: a person, from an address, with rights; by a token they may be fewer than the role's."""

    person: str
    role: Role
    rights: frozenset[Right] = field(repr=False)
    address: str = ""
    by_token: bool = False
    signed_in: bool = False

    def may(self, right: Right) -> bool:
        """Whether they may."""
        return right in self.rights

    def require(self, right: Right) -> None:
        """Raise NotAllowed, a sentence that says what to do, unless they may."""
        if right in self.rights:
            return
        if right is Right.MANAGE_WEIGHTS and not self.by_token:
            raise NotAllowed(WHY_NO_WEIGHTS)
        if self.by_token:
            raise NotAllowed(
                f"This token may not {right}: make one with the scope for it, if you may yourself."
            )
        if right in RIGHTS[Role.MEMBER] and not self.signed_in:
            raise NotAllowed(f"You may not {right} without signing in: do so on the page Account.")
        raise NotAllowed(f"You may not {right}: an admin of the studio may.")


def decide(settings: WebSettings, address: str | None, *, can_sign_in: bool) -> Rules:
    """The rules of a studio that listens on ``address``; None and "" are every address of the machine.

    Raises:
        Undecided: other machines would reach it, and neither sign-in nor ``web.public`` is there.
    """
    if can_sign_in:
        openness = Openness.SIGN_IN
    elif settings.public:
        openness = Openness.PUBLIC
    elif is_own_machine(address):
        openness = Openness.OWN_MACHINE
    else:
        raise Undecided(address)
    draw = settings.visitors_may is Visitors.draw if settings.visitors_may else not can_sign_in
    admins = frozenset(
        name.casefold() if "@" in name and " " not in name else name for name in settings.admins
    )
    return Rules(openness, draw, admins, settings.manage_weights)


def is_own_machine(address: str | None) -> bool:
    """Whether only the machine itself reaches that address or name."""
    name = (address or "").strip("[]")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
