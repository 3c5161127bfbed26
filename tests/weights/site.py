"""A real web server on this machine that gives files, well or badly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Offer:
    """One file as the site gives it. ``breaks`` are places where the connection is dropped, once each."""

    content: bytes
    ranges: bool = True
    tag: str | None = '"1"'
    kind: str = "application/octet-stream"
    breaks: list[int] = field(default_factory=list)
    stalls_at: int | None = None


@dataclass
class Site:
    """``asked`` holds the path and the Range header of every request, oldest first."""

    address: str
    offers: dict[str, Offer]
    asked: list[tuple[str, str | None]]
    stalled: threading.Event
    closing: threading.Event

    def offer(self, path: str, content: bytes, **manner: object) -> str:
        """Give ``content`` under ``path``; returns its address."""
        self.offers[path] = Offer(content, **manner)  # type: ignore[arg-type]
        return f"{self.address}{path}"


@contextmanager
def open_site() -> Iterator[Site]:
    """A site that is closed afterwards."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    site = Site(f"http://127.0.0.1:{server.server_port}", {}, [], threading.Event(), threading.Event())
    server.site = site  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    site.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        path = self.path.removeprefix(site.address)
        asked = self.headers.get("Range")
        site.asked.append((path, asked))
        if path not in site.offers:
            self.send_error(404)
            return
        offer = site.offers[path]
        start = self._start(offer, asked)
        if start >= len(offer.content) > 0:
            self.send_error(416)
            return
        self._head(offer, start)
        self._give(site, offer, start)

    def _start(self, offer: Offer, asked: str | None) -> int:
        same = self.headers.get("If-Range", offer.tag) == offer.tag
        if asked is None or not offer.ranges or not same:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _head(self, offer: Offer, start: int) -> None:
        size = len(offer.content)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if offer.tag:
            self.send_header("ETag", offer.tag)
        self.send_header("Content-Type", offer.kind)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()

    def _give(self, site: Site, offer: Offer, start: int) -> None:
        ends = [place for place in offer.breaks if place > start]
        if ends:
            offer.breaks.remove(ends[0])
            self.wfile.write(offer.content[start : ends[0]])
        elif offer.stalls_at is not None:
            self.wfile.write(offer.content[start : offer.stalls_at])
            self.wfile.flush()
            site.stalled.set()
            site.closing.wait()
        else:
            self.wfile.write(offer.content[start:])

    def log_message(self, *_: object) -> None:
        pass
