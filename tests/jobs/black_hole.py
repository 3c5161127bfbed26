"""A way to a server that can swallow all that is sent, and refuse nothing, as a proxy does that hangs.

Both sides see an open connection whose other end acknowledges what it gets and answers nothing. Once the way
is open again, what was swallowed arrives, late, at a server that knows nothing of what its client thinks.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PIECE_BYTES = 65536


class BlackHole:
    """Carries bytes between a free ``port`` of this machine and the server's, but not while it is closed."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._front = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._passable = threading.Event()
        self._passable.set()
        self.port: int = self._front.getsockname()[1]

    def swallow(self) -> None:
        self._passable.clear()

    def heal(self) -> None:
        self._passable.set()

    def serve(self) -> None:
        """Until ``close``."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._front.accept()
                far = socket.create_connection(self._server)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def close(self) -> None:
        self.heal()
        self._front.shutdown(socket.SHUT_RDWR)
        self._front.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._passable.wait()
                target.sendall(piece)
        self._passable.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def black_hole(server_port: int) -> Iterator[BlackHole]:
    """Passable at first, and gone at the end of the block."""
    hole = BlackHole(server_port)
    thread = threading.Thread(target=hole.serve, daemon=True)
    thread.start()
    try:
        yield hole
    finally:
        hole.close()
        thread.join()
