"""A hub that has no feeds: every socket gets back what it sends. For the Autobahn|Testsuite, whose cases need an echo.

    python -m tests.hardening.echo [--compression] [--limit BYTES]

The handshake, the framing, pings, closes and the timers are the hub's own classes (`Door`, `Connection`, `Handshake`).
A text comes back as the hub sends an event, through `wire`'s encoders. What the hub has no use for is done as the
library's own server does it: its assembler joins fragments and looks at UTF-8, and its protocol sends binary messages.
Prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from unittest import mock

import uvloop
from websockets.asyncio.messages import Assembler
from websockets.exceptions import TooManyFragments
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import State

from fanout import handshake, pings, wire
from fanout.deliver import Connection
from fanout.guard import Guard
from fanout.guest import Guest
from fanout.hub import Hub
from fanout.metrics import Metrics
from fanout.route import Router
from fanout.settings import Settings


class Echo(Connection):
    """A socket that gets back what it sends."""

    __slots__ = ("assembler", "task")

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self.assembler = Assembler()
        self.task: asyncio.Task[None] | None = None

    def hear(self, frames: Sequence[object]) -> None:
        """What the library made of the peer's bytes."""
        for frame in frames:
            if isinstance(frame, Frame) and frame.opcode in DATA_OPCODES:
                self.assembler.put(frame)
        if self.task is None:
            self.task = self.hub.loop.create_task(self._say_back())

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self.assembler.close()
        super().connection_lost(exc)

    async def _say_back(self) -> None:
        """As the library's own `recv` and `send` do it."""
        try:
            while True:
                self._say(await self.assembler.get())
        except EOFError:
            pass
        except UnicodeDecodeError as exc:
            self._fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
        except TooManyFragments:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")

    def _say(self, message: str | bytes) -> None:
        protocol = self.protocol
        if protocol is None or protocol.state is not State.OPEN:
            return
        if isinstance(message, str):
            frame = wire.Frame("echo", "echo", payload=message.encode())
            self.write(wire.ENCODERS[self.admission.written_as]([frame]))
        else:
            protocol.send_binary(message)
            self.flush()

    def _fail(self, code: CloseCode, reason: str) -> None:
        protocol = self.protocol
        if protocol is not None and protocol.state is State.OPEN:
            protocol.fail(code, reason)
            self.feed(b"")  # the hub's own way out of a socket whose protocol has ended


class EchoGuard(Guard):
    """Lets everybody in, and passes on what they say."""

    def met(self, connection: Connection) -> None:
        """Somebody has connected: what they will say is of interest."""
        connection.guest = Guest()

    def heard(self, connection: Connection, frames: Sequence[object]) -> None:
        """What came on a WebSocket."""
        assert isinstance(connection, Echo)
        connection.hear(frames)


class EchoHub(Hub):
    """A hub of echoes."""

    def watch_for_messages(self) -> None:
        """The guard is where what clients say comes to."""
        self.guard = EchoGuard(self)

    def connect(self) -> Echo:
        """The protocol of a new connection."""
        return Echo(self)


async def serve(compression: bool) -> None:
    """For ever."""
    settings = Settings(compression=compression)
    wheel: pings.Wheel[Connection] = pings.Wheel(tick=0.25, longest=settings.ping_interval)
    hub = EchoHub(settings, Router(judged=False, hold=settings.hold), wheel, Metrics())
    hub.watch_for_messages()
    server = await asyncio.get_running_loop().create_server(hub.connect, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await pings.turn(wheel, lambda late: None, hub.guard.turn)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compression", action="store_true")
    parser.add_argument("--limit", type=int, default=handshake.MAX_INBOUND, help="bytes of one message")
    arguments = parser.parse_args()
    with mock.patch.object(handshake, "MAX_INBOUND", arguments.limit):
        uvloop.run(serve(arguments.compression))


if __name__ == "__main__":
    main()
