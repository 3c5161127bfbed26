"""What browsers are told about every answer, and what is asked of every request before anyone looks at it."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.permissions import is_own_machine

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
"""For JSON and files: a picture that a browser takes for a page can do nothing."""
CHANGING_NOTHING = ("GET", "HEAD", "OPTIONS")
OF_PROXIES = (
    *("forwarded", "via", "x-real-ip"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
)
"""Headers by which a proxy tells of itself."""
ELSEWHERE = (
    "This studio is open to its own machine only, and was asked under another name or through a proxy: reach "
    "it as localhost, or say who may use it (sign-in or web.public, see SECURITY.md)."
)
FROM_ELSEWHERE = (
    "Another site sent this request, so nothing was done: use the studio's own pages, or a token."
)
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


def page_policy(html: str, store: str = "") -> str:
    """The Content-Security-Policy of Streamlit's page: its own scripts and styles, nothing from afar.

    Only pictures may come from the origin of the ``store``, where it signs links. The mask's canvas is a
    module that the page itself makes (``blob:``); charts compile expressions.
    """
    pictures = f"'self' data: blob: {store}".strip()
    scripts = " ".join(["'self'", "blob:", *_hashes(html)])
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        f"img-src {pictures}; media-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self'; worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


def document_policy(html: str) -> str:
    """The Content-Security-Policy of the API's description, a page with scripts of its own."""
    scripts = " ".join(["'self'", *_hashes(html)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class SetHeaders:
    """ASGI middleware: sets the headers above, and lets cookies travel by https only where it is spoken."""

    def __init__(self, app: ASGIApp, page: Path, store: str = "") -> None:
        self.app = app
        self._policy = page_policy(page.read_text(), store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = NOTHING if scope["path"].startswith(("/api/", "/media/")) else self._policy

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", policy)
                headers.update(ALWAYS)
                if scope["scheme"] == "https":
                    message["headers"] = [*map(_secured, message["headers"])]
            await send(message)

        await self.app(scope, receive, send_with_headers)


class DescribeScripts:
    """ASGI middleware for the API: gives its pages the policy of the scripts that stand in them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/docs"):
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def send_whole(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                MutableHeaders(scope=start)["Content-Security-Policy"] = document_policy(body.decode())
                await send(start)
                await send({"type": "http.response.body", "body": bytes(body)})

        await self.app(scope, receive, send_whole)


class OwnMachineOnly:
    """ASGI middleware: answers only what was asked of this machine by its own name, and through no proxy.

    So no site that gives its name this machine's address reaches the studio through a browser here. A proxy
    that says nothing of itself cannot be told.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            named = urlsplit(f"//{headers.get('host', '')}")
            if _is_proxied(scope, headers) or not is_own_machine(named.hostname or ""):
                await _refuse(scope, receive, send, ELSEWHERE)
                return
        await self.app(scope, receive, send)


class SameOriginOnly:
    """ASGI middleware: what changes something and is known by a cookie must come from the studio's own pages.

    A program says who it is with every request, which no other site can make a browser do.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in CHANGING_NOTHING:
            headers = Headers(scope=scope)
            if not _shows_a_secret(headers) and not _is_same_origin(headers):
                await _refuse(scope, receive, send, FROM_ELSEWHERE)
                return
        await self.app(scope, receive, send)


def _is_proxied(scope: Scope, headers: Headers) -> bool:
    """HTTP/1.0 is what nginx speaks unless it is told otherwise; browsers and programs do not."""
    return scope.get("http_version") == "1.0" or any(name in headers for name in OF_PROXIES)


def _shows_a_secret(headers: Headers) -> bool:
    """As a program does; other schemes a browser may send by itself."""
    return headers.get("authorization", "").partition(" ")[0].lower() == "bearer"


def _is_same_origin(headers: Headers) -> bool:
    """What sends neither header is no browser, and has no cookies but its own."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


async def _refuse(scope: Scope, receive: Receive, send: Send, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
    else:
        await JSONResponse({"error": sentence}, 403)(scope, receive, send)


def _secured(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    bare = name.lower() == b"set-cookie" and b"; secure" not in value.lower()
    return (name, value + b"; Secure") if bare else header


def _hashes(html: str) -> Iterable[str]:
    for script in _INLINE.findall(html):
        yield f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
