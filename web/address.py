"""From where a request comes: the address of the client, also behind proxies that are trusted."""

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from settings import SettingsError

HEADER = "x-studio-address"
"""In it the pages, which see headers only, find the address; what a client writes there is thrown away."""
_LOOPBACK = "127.0.0.1"

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
            headers, peer = Headers(scope=scope), _peer(scope)
            address = peer
            if self._trusts(peer):
                address = self._client(peer, headers.getlist("x-forwarded-for"))
                if headers.get("x-forwarded-proto", "").strip() == "https":
                    scope["scheme"] = {"http": "https", "websocket": "wss"}[scope["type"]]
            scope.setdefault("state", {})["address"] = address
            others = [(name, value) for name, value in scope["headers"] if name != HEADER.encode()]
            scope["headers"] = [*others, (HEADER.encode(), address.encode("latin-1", "replace"))]
        await self.app(scope, receive, send)

    def _client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The last address on the way that no trusted proxy has: anyone may write what is before it."""
        way = [hop.strip() for line in forwarded for hop in line.split(",")]
        address = peer
        for hop in reversed(way):
            if not _is_address(hop):
                break
            address = hop
            if not self._trusts(hop):
                break
        return address

    def _trusts(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in network for network in self._trusted)


def household(address: str) -> str:
    """A name for all addresses that one household is given, which does not tell them: an IPv6 /64 is one."""
    if _is_address(address) and isinstance(parsed := ip_address(address), IPv6Address):
        address = str(IPv6Network((parsed, 64), strict=False))
    return hashlib.sha256(address.encode()).hexdigest()[:32]


def _peer(scope: Scope) -> str:
    """Who is at the other end. Port 0: uvicorn believed a header, which it does from this machine only."""
    host, port = scope.get("client") or (_LOOPBACK, 1)
    return str(host) if port else _LOOPBACK


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
