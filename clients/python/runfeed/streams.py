"""The two kinds of stream, opened and read to their end. Both say the same things."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol
from yarl import URL

from .core.protocol import SUBPROTOCOL
from .places import USER_AGENT, bearer, headers_of, retry_after
from .sse import Blocks

MESSAGE_BYTES: Final = 1 << 20  # what the hub forwards at most
CLOSE_SECONDS: Final = 1.0  # for the hub's last word when we leave; a dead one is not waited for
CONNECT_SECONDS: Final = 10.0  # the machine gives up after as many; this one is for a host that does not answer
# What a status in front of a stream is as a close code.
PROBLEM: Final = "application/problem+json"  # what our hub says a refusal in
CODES: Final = {400: 4400, 401: 4401, 403: 4403, 404: 4404, 410: 4409, 429: 1013, 503: 1013}
_ID: Final = re.compile(r"[0-9]{1,16}")
# At DEBUG the library logs heads and frames, and with them tokens. A program that logs at DEBUG did not ask for those.
_LOG: Final = logging.getLogger("runfeed.websockets")
_LOG.setLevel(logging.INFO)


class Socket:
    """What is said on an open WebSocket. token: that it was opened with."""

    def __init__(self, connection: ClientConnection, token: str | None) -> None:
        self._connection = connection
        self._token = token

    async def authenticate(self, token: str) -> None:
        """Sends a token. Not one that it has already, and nothing when it has ended."""
        if token == self._token:
            return
        self._token = token
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(json.dumps({"type": "auth", "token": token}))


class Heard(Protocol):
    """Whom a stream speaks to."""

    def speaks(self, socket: Socket) -> None:
        """It takes what is said to it: a WebSocket, which is connected."""

    def opened(self) -> None:
        """It is open, and will not say so itself."""

    def message(self, frame: str) -> None:
        """An event's or a control frame's JSON."""

    def beat(self, head: int | None) -> None:
        """A sign of life, with the id up to which all was sent."""


class End(NamedTuple):
    """How a stream ended: a close code, and the reason, in which the hub may say when to come back."""

    code: int
    reason: str = ""


def refused(status: int, headers: Mapping[str, str]) -> End:
    """A status in front of a stream as its end."""
    wait = retry_after(headers.get("Retry-After"))
    code = CODES.get(status, 1006)
    if status == 404 and not headers.get("Content-Type", "").startswith(PROBLEM):
        code = 1006  # a proxy's, which does not know this path: the other kind of stream, or polls, may do
    return End(code, "" if wait is None else f"retry in {round(1000 * wait)} ms")


async def read_websocket(url: str, token: str | None, heard: Heard) -> End:
    """Opens a WebSocket and tells `heard` what it says, to its end."""
    try:
        socket = await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=bearer(token),
            logger=_LOG,
            compression=None,
            user_agent_header=USER_AGENT,
            open_timeout=CONNECT_SECONDS,
            ping_interval=None,  # the hub pings; its silence is the machine's to judge
            close_timeout=CLOSE_SECONDS,
            max_size=MESSAGE_BYTES,
            proxy=None,
        )
    except InvalidStatus as error:
        return refused(error.response.status_code, error.response.headers)
    except (OSError, asyncio.TimeoutError, WebSocketException, EOFError) as error:
        return End(1006, type(error).__name__)
    heard.speaks(Socket(socket, token))
    try:
        return await _read_socket(socket, heard)
    finally:
        try:
            await socket.close(1001)
        finally:  # whoever was cancelled once for leaving may be cancelled again for closing
            socket.transport.abort()


async def _read_socket(socket: ClientConnection, heard: Heard) -> End:
    if socket.subprotocol != SUBPROTOCOL:
        heard.opened()
    try:
        while True:
            frame = await socket.recv()
            if isinstance(frame, str):
                heard.message(frame)
    except ConnectionClosed as error:
        return End(1006) if error.rcvd is None else End(error.rcvd.code, error.rcvd.reason)


async def read_events(session: aiohttp.ClientSession, url: str, token: str | None, heard: Heard) -> End:
    """Opens a stream of Server-Sent Events and tells `heard` what it says, to its end."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    headers = headers_of("text/event-stream", token)
    try:
        async with session.get(URL(url, encoded=True), headers=headers, timeout=timeout) as response:
            if response.status != 200:
                return refused(response.status, response.headers)
            return await _read_blocks(response.content, heard)
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError) as error:
        return End(1006, type(error).__name__)


async def _read_blocks(content: aiohttp.StreamReader, heard: Heard) -> End:
    blocks = Blocks()
    wait: int | None = None
    is_open = False
    async for piece in content.iter_any():
        for block in blocks.feed(piece):
            wait = wait if block.retry is None else block.retry
            if block.retry is not None and block.data is None:
                continue  # its last words: a refusal is a stream of these alone
            if not is_open:
                heard.opened()
            is_open = True
            if block.data is not None:
                heard.message(block.data)
            else:
                heard.beat(int(block.id) if block.id and _ID.fullmatch(block.id) else None)
    return End(1006) if wait is None else End(1012, f"retry in {wait} ms")
