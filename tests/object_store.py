"""An S3-compatible object store over HTTP, as a process of its own: SeaweedFS, which a wheel carries."""

import contextlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

BUCKET = "studio"
OWNER = {"key": "owner", "secret": "a secret of the tests"}
READER = {"key": "reader", "secret": "a secret of a reader"}
START_SECONDS = 120


class ObjectStore:
    """Data in ``folder``; started, killed and started again on the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports(8)
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "identities.json").write_text(json.dumps(_identities()))

    def place(self) -> str:
        """The URL of a place in it that nobody has used."""
        return f"s3://{BUCKET}/{secrets.token_hex(6)}"

    def options(self, who: dict[str, str] = OWNER, endpoint: str | None = None) -> dict[str, Any]:
        return {"endpoint_url": endpoint or self.endpoint, **who}

    def settings(self, place: str) -> list[str]:
        """As arguments of the entry scripts."""
        options = [f"artifact_options.{name}={value}" for name, value in self.options().items()]
        return [f"artifact_url={place}", *options]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        self._wait_until_it_keeps()

    def kill(self) -> None:
        """SIGKILL: no time to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for port in self._ports:  # beside each port for RPC it leaves a socket
            for left in Path("/tmp").glob(f"seaweedfs-*{port}*.sock"):
                left.unlink()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """It stands still for the time of the block: connections are accepted, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _command(self) -> list[str]:
        s3, s3_rpc, master, master_rpc, volume, volume_rpc, filer, filer_rpc = self._ports
        weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
        assert weed is not None, "requirements-dev.txt is not installed"
        return [
            *(weed, "-logtostderr", "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-master.port={master}", f"-master.port.grpc={master_rpc}", "-master.peers=none"),
            *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100"),
            *(f"-volume.port={volume}", f"-volume.port.grpc={volume_rpc}", "-volume.minFreeSpace=0"),
            *(f"-filer.port={filer}", f"-filer.port.grpc={filer_rpc}", "-s3", f"-s3.port={s3}"),
            *(f"-s3.port.grpc={s3_rpc}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            "-s3.autoCreateBucket=false",
            f"-s3.config={self._folder / 'identities.json'}",
        ]

    def _wait_until_it_keeps(self) -> None:
        filesystem = fsspec.filesystem("s3", skip_instance_cache=True, **self.options())
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with contextlib.suppress(FileExistsError):
                    filesystem.mkdir(BUCKET, timeout=2)
                filesystem.pipe_file(f"{BUCKET}/probe", b"kept", timeout=2)
                return
            except Exception:
                assert self._process is not None
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.05)


def _identities() -> dict[str, Any]:
    def identity(who: dict[str, str], *actions: str) -> dict[str, Any]:
        credentials = [{"accessKey": who["key"], "secretKey": who["secret"]}]
        return {"name": who["key"], "credentials": credentials, "actions": actions}

    return {"identities": [identity(OWNER, "Admin"), identity(READER, "Read", "List")]}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
