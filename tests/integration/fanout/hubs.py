"""A hub as a process, and peers that say what they are told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from fanout.auth_config import DOCUMENTED
from tests.support.secrets import look_at, look_at_refusal

T = TypeVar("T", str, bytes)
ROOT = Path(__file__).parents[3]


def looked_at(said: T, what: str) -> T:
    """What a hub has said, in which no secret may stand."""
    look_at(said, f"the hub, {what}")
    return said


class HubProcess:
    """A `python -m fanout` on free ports."""

    def __init__(
        self, redis_url: str, log: Path, ports: tuple[int, int], settings: dict[str, str], before: tuple[str, ...] = ()
    ) -> None:
        """`before`: words in front of the command."""
        self.port, self.admin_port = ports
        self.log = log
        env = {name: value for name, value in os.environ.items() if not name.startswith(("FANOUT_", "PORT"))}
        env = {name: value for name, value in env.items() if name not in [variable for variable, _, _ in DOCUMENTED]}
        env |= {"REDIS_URL": redis_url, "FANOUT_PORT": str(self.port), "FANOUT_ADMIN_PORT": str(self.admin_port)}
        env |= {"LOG_FORMAT": "json", "PYTHONWARNINGS": "error::ResourceWarning"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "fanout"],
                cwd=ROOT,
                env=env | settings,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def url(self, username: str, *runs: str) -> str:
        """The WebSocket URL of `username`, with run filters; the name needs no escaping."""
        return f"ws://127.0.0.1:{self.port}/ws?username={username}" + "".join(f"&run_id={run}" for run in runs)

    def admin(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on the admin port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                return answer.status, looked_at(answer.read().decode(), path)
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, looked_at(answer.read().decode(), path)
        except (urllib.error.URLError, ConnectionError) as exc:
            return 0, str(exc)

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self.admin("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 when it is not there. AssertionError when there is no answer: that is not 0."""
        status, text = self.admin("/metrics")
        assert status == 200, text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def lines(self) -> list[dict[str, Any]]:
        """The log, parsed."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.lines() if line["event"] == name]

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def stop(self) -> None:
        """End it, frozen or not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class StartHub(Protocol):
    """Start a hub with these settings and wait until it is ready."""

    def __call__(self, **settings: str) -> HubProcess: ...


class StartAnyHub(Protocol):
    """Start a hub on this Redis with these settings, and do not wait."""

    def __call__(self, redis_url: str, **settings: str) -> HubProcess: ...


class Publish(Protocol):
    """Publish events of a user in one go, of run r1 unless they say so; the payloads as they were sent."""

    def __call__(self, username: str, *events: dict[str, Any]) -> Awaitable[list[str]]: ...


class RawPeer:
    """A TCP connection to a hub that says what it is told to, and nothing of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write, without waiting for the peer to take it."""
        self.writer.write(data)

    async def everything(self, within: float = 5.0) -> bytes:
        """All that comes until the end; a reset is an end too."""
        data = b""
        async with asyncio.timeout(within):
            try:
                while piece := await self.reader.read(65536):
                    data += piece
            except ConnectionError:
                pass
        if data[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5"):
            look_at_refusal(data, "the hub, a refusal")
        return data

    async def head(self) -> bytes:
        """The response's head."""
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def handshake(username: str, more: str = "") -> bytes:
    """The head of a request for a socket of `username`."""
    return f"GET /ws?username={username} HTTP/1.1\r\nHost: h\r\n{UPGRADE}{more}\r\n".encode()


def client_frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    """A masked frame, the mask being zero."""
    size = len(payload)
    length = (
        bytes([0x80 | size])
        if size < 126
        else b"\xfe" + size.to_bytes(2, "big")
        if size < 65536
        else b"\xff" + size.to_bytes(8, "big")
    )
    return bytes([(0x80 if fin else 0) | opcode]) + length + b"\0\0\0\0" + payload


class Connect(Protocol):
    """Open a RawPeer to a hub or a port; with a username, one whose socket is open."""

    def __call__(self, to: HubProcess | int, username: str | None = None) -> Awaitable[RawPeer]: ...
