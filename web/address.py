"""From where a request comes: the address of the client, also behind proxies that are trusted."""

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from settings import SettingsError

HEADER = "x-studio-address"
"""In it the pages, which see headers only, find the address; what a client writes there is thrown away."""
_LOOPBACK = IPv4Address("127.0.0.1")

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]


def networks(proxies: Sequence[str]) -> Networks:
    """The networks of ``web.trusted_proxies``. Raises SettingsError."""
    try:
        return [ip_network(proxy) for proxy in proxies]
    except ValueError as error:
        raise SettingsError(
            f"The setting 'web.trusted_proxies' cannot be used: {error}; write addresses or networks."
        ) from error


class KnowAddress:
    """ASGI middleware: puts the client's address into ``scope["state"]["address"]`` and into ``HEADER``.

    ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed from the networks ``trusted`` only.
    """

    def __init__(self, app: ASGIApp, trusted: Networks = ()) -> None:
        self.app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            way = [_address(hop) for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
            address = peer = _peer(scope, way)
            if self._trusts(peer):
                address = self._client(peer, way)
                if headers.get("x-forwarded-proto", "").strip() == "https":
                    scope["scheme"] = {"http": "https", "websocket": "wss"}[scope["type"]]
            scope.setdefault("state", {})["address"] = str(address)
            others = [(name, value) for name, value in scope["headers"] if name != HEADER.encode()]
            scope["headers"] = [*others, (HEADER.encode(), str(address).encode())]
        await self.app(scope, receive, send)

    def _client(self, peer: Address, way: Sequence[Address | None]) -> Address:
        """The last address on the way that no trusted proxy has: anyone may write what is before it."""
        address = peer
        for hop in reversed(way):
            if hop is None:
                break
            address = hop
            if not self._trusts(hop):
                break
        return address

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def household(address: str) -> str:
    """A name for all addresses that one household is given, which does not tell them: an IPv6 /64 is one."""
    known = _address(address)
    if isinstance(known, IPv6Address):
        known = IPv6Network((known, 64), strict=False).network_address
    return hashlib.sha256(str(known or address).encode()).hexdigest()[:32]


def _peer(scope: Scope, way: Sequence[Address | None]) -> Address:
    """Who is at the other end.

    uvicorn believes what this machine forwards: it puts the last other address on the way in the peer's
    place. Who comes from there is taken for this machine, for it may be.
    """
    host, _ = scope.get("client") or ("", 0)
    peer = _address(str(host))
    others = [hop for hop in way if hop != _LOOPBACK]
    return _LOOPBACK if peer is None or others[-1:] == [peer] else peer


def _address(text: str) -> Address | None:
    """What is written there, also with a port or in brackets; None where it is no address."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        known = ip_address(host)
    except ValueError:
        return None
    return getattr(known, "ipv4_mapped", None) or known
