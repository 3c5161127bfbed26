"""An executor on a network of its own: ``unshare --net python cut_off_executor.py SOCKET PORT [settings]``.

What is sent to ``PORT`` goes on to PostgreSQL's Unix ``SOCKET``, which needs no network. Told ``cut`` on its
input, the network swallows every packet and refuses none; told ``heal``, it carries them again.
"""

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress

from settings import load_settings
from tests.jobs.fast_executor import open_executor

COMMANDS = {
    "cut": ["tc", "qdisc", "replace", "dev", "lo", "root", "bfifo", "limit", "1"],
    "heal": ["tc", "qdisc", "del", "dev", "lo", "root"],
}
"""A queue of one byte has room for no packet."""


def main() -> None:
    socket, port, *arguments = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    listening = threading.Event()
    threading.Thread(target=asyncio.run, args=[carry(socket, int(port), listening)], daemon=True).start()
    threading.Thread(target=obey, daemon=True).start()
    listening.wait()
    open_executor(load_settings(arguments)).run(threading.Event())


def obey() -> None:
    for line in sys.stdin:
        subprocess.run(COMMANDS[line.strip()], check=True)
        print(f"network: {line.strip()}", flush=True)


async def carry(socket: str, port: int, listening: threading.Event) -> None:
    async def join(near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_unix_connection(socket)
        await asyncio.gather(pass_on(near, to_far), pass_on(far, to_near))

    server = await asyncio.start_server(join, "127.0.0.1", port)
    listening.set()
    await server.serve_forever()


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


if __name__ == "__main__":
    main()
