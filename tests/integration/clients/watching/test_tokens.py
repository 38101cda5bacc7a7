"""runfeed.driver and runfeed.streams: the token, from the first to the one that nobody takes. Against small servers."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from runfeed import Runfeed, RunfeedError
from tests.integration.clients.watching.serving import END, EVENTS, Serve, history
from tests.integration.clients.watching.worker import ids
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about a client, whatever the stores' versions
CONNECTED = {"control": True, "type": "connected", "head": 1, "epoch": "E"}
EXPIRING = {"control": True, "type": "auth_expiring", "closes_in_ms": 25_000}
SECRET = "s3cret"


class Keeper:
    """A program's tokens: t1, t2 ... Attributes: given: all of them; away: no more can be had."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.away = False
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self) -> str:
        """The next."""
        if self.away:
            raise OSError("no network")
        number = len(self.given) + 1
        self.given.append(f"t{number}")
        if number > 1:
            await self.may.wait()
        return f"t{number}"


class Hub:
    """The API with one event, and a hub; `speak` is what it says on each socket that opens.

    Attributes:
        takes: so many sockets are let in; the others are refused.
        tokens: of the streams that were opened.
        heard: what they were sent, parsed.
    """

    def __init__(self, speak: Callable[[web.WebSocketResponse, int], Any], takes: int = 9) -> None:
        self._speak = speak
        self._takes = takes
        self.tokens: list[str | None] = []
        self.heard: list[Any] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        if request.path.startswith("/api/v1/feeds"):
            return web.json_response({"epoch": "E", "events": [], "next": 1, "head": 1})
        if request.path != "/ws":
            return history(*EVENTS)
        self.tokens.append(token_of(request))
        socket = web.WebSocketResponse(protocols=("runfeed.v1",))
        await socket.prepare(request)
        if len(self.tokens) > self._takes:
            await socket.close(code=4401, message=b"token_expired")
            return socket
        await socket.send_json(CONNECTED)
        await self._speak(socket, len(self.tokens))
        return socket

    async def hear(self, socket: web.WebSocketResponse) -> None:
        """The next text."""
        self.heard.append(json.loads(await socket.receive_str()))


def token_of(request: web.Request) -> str | None:
    """What it carries."""
    said = request.headers.get("Authorization")
    return None if said is None else said.removeprefix("Bearer ")


async def test_token(serve: Serve) -> None:
    """A token goes with every request and socket; one that is refused is replaced, once."""

    async def speak(socket: web.WebSocketResponse, _: int) -> None:
        await socket.send_json(END)
        await socket.receive()

    async def answer(request: web.Request) -> web.StreamResponse:
        if token_of(request) != "t2":
            return web.json_response({"code": "unauthenticated"}, status=401)
        return await hub(request)

    hub, keeper = Hub(speak), Keeper()
    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base, get_token=keeper) as feed:
        assert await ids(feed.run("r1")) == [1, 2]
        assert [event["id"] for event in await feed.history("r1")] == [1]

    assert (keeper.given, hub.tokens) == (["t1", "t2"], ["t2"])
    assert not any("bearer" in request.headers.get("Sec-WebSocket-Protocol", "") for request in server.asked)


async def test_one_renewal_for_all(serve: Serve) -> None:
    """Whoever is refused with the same token, and however much later, goes on with the one token that replaced it."""
    asks = 6  # the machine's, three readers' that look on at the same run, and two for a history

    async def speak(socket: web.WebSocketResponse, _: int) -> None:
        await socket.send_json(END)
        await socket.receive()

    async def answer(request: web.Request) -> web.StreamResponse:
        if (token := token_of(request)) != "t1":
            shown.add(token)
            return await hub(request)
        refused.append(request)
        if len(refused) == 1:
            await eventually(lambda: len(refused) == asks)
        else:
            await eventually(lambda: "t2" in shown)
        return web.json_response({"code": "token_expired"}, status=401)

    refused: list[web.Request] = []
    shown: set[str | None] = set()
    hub, keeper = Hub(speak), Keeper()
    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base, get_token=keeper) as feed:
        watched = asyncio.gather(*(ids(feed.run("r1")) for _ in range(4)))
        read = asyncio.gather(*(feed.history("r1") for _ in range(2)))
        assert await watched == [[1, 2]] * 4
        assert [[event["id"] for event in events] for events in await read] == [[1]] * 2

    assert (keeper.given, shown) == (["t1", "t2"], {"t2"})


async def test_expiring(serve: Serve) -> None:
    """A token that runs out is renewed on the open socket, as often as it takes: it is the same socket to the end."""

    async def speak(socket: web.WebSocketResponse, _: int) -> None:
        for _ in range(3):
            await socket.send_json(EXPIRING)
            await hub.hear(socket)
            await socket.send_json({"control": True, "type": "authenticated", "expires_at": 4600})
        await socket.send_json(END)
        await socket.receive()

    hub, keeper = Hub(speak), Keeper()
    server = await serve(hub)
    async with Runfeed("alice", server.base, server.base, get_token=keeper) as feed:
        assert await ids(feed.run("r1")) == [1, 2]

    assert hub.heard == [{"type": "auth", "token": f"t{number}"} for number in (2, 3, 4)]
    assert hub.tokens == ["t1"]


async def test_expiring_again_and_again(serve: Serve) -> None:
    """While a token is being renewed another reminder asks for nothing more, and it is sent once."""

    async def speak(socket: web.WebSocketResponse, _: int) -> None:
        for _ in range(3):
            await socket.send_json(EXPIRING)
        await eventually(lambda: len(keeper.given) > 1)
        keeper.may.set()
        await hub.hear(socket)
        await socket.send_json(END)
        await socket.receive()

    hub, keeper = Hub(speak), Keeper()
    keeper.may.clear()
    server = await serve(hub)
    async with Runfeed("alice", server.base, server.base, get_token=keeper) as feed:
        watch = feed.run("r1")
        assert await ids(watch) == [1, 2]

    assert (hub.heard, keeper.given) == ([{"type": "auth", "token": "t2"}], ["t1", "t2"])


async def test_replaced_while_renewing(serve: Serve) -> None:
    """A token that comes when its socket is gone is sent on none: the next one brings it."""

    async def speak(socket: web.WebSocketResponse, number: int) -> None:
        if number == 1:
            await socket.send_json(EXPIRING)
            await eventually(lambda: len(keeper.given) > 1)
            await socket.close(code=1012, message=b"retry in 0 ms")
            keeper.may.set()
            return
        await socket.send_json(END)
        while not socket.closed:
            message = await socket.receive()
            hub.heard += [message.data] if message.type == web.WSMsgType.TEXT else []

    hub, keeper = Hub(speak), Keeper()
    keeper.may.clear()
    server = await serve(hub)
    async with Runfeed("alice", server.base, server.base, get_token=keeper) as feed:
        assert await ids(feed.run("r1")) == [1, 2]

    assert (hub.tokens, hub.heard) == (["t1", "t2"], [])


async def test_no_token_in_time(serve: Serve) -> None:
    """When no token is had nothing is sent; the socket that is closed for it comes back with the next, once."""

    async def speak(socket: web.WebSocketResponse, _: int) -> None:
        keeper.away = True
        await socket.send_json(EXPIRING)
        await eventually(lambda: feed._tokens._token is None)
        keeper.away = False
        await socket.close(code=4401, message=b"token_expired")

    hub, keeper = Hub(speak, takes=1), Keeper()
    server = await serve(hub)
    async with Runfeed("alice", server.base, server.base, get_token=keeper) as feed:
        with pytest.raises(RunfeedError, match="token_expired") as caught:
            await ids(feed.run("r1"))

    assert (caught.value.code, caught.value.status) == ("refused", 4401)
    assert (hub.tokens, hub.heard) == (["t1", "t2"], [])


@pytest.mark.parametrize(("reason", "taken"), [("expired", True), ("revoked", True), ("revoked", False)])
async def test_event_stream(serve: Serve, monkeypatch: pytest.MonkeyPatch, reason: str, taken: bool) -> None:
    """A stream of Server-Sent Events that ends with its token is opened at once with another, and its cursor."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != "/sse":
            return web.Response(status=500) if request.path == "/ws" else history(*EVENTS)
        opened.append((token_of(request), request.query["after"]))
        if len(opened) > 1 and not taken:
            return web.json_response({"code": "token_revoked"}, status=401)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        number = len(opened) + 1
        said = {"id": number, "seq": number, "run_id": "r1", "username": "a", "type": "a"}
        await stream.write(b": connected\n\n" + b"id: %d\ndata: " % number + json.dumps(said).encode() + b"\n\n")
        if len(opened) > 1:
            await stream.write(b'data: {"id":4,"seq":4,"run_id":"r1","username":"a","type":"workflow_completed"}\n\n')
            await asyncio.Event().wait()
        end = {"control": True, "type": "token_expired", "reason": reason}
        await stream.write(b"event: token_expired\ndata: " + json.dumps(end).encode() + b"\n\n")
        return stream

    opened: list[tuple[str | None, str]] = []
    monkeypatch.setattr("runfeed.core.link.FIRST_WAIT", 20)
    keeper = Keeper()
    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base, get_token=keeper, poll_interval=60) as feed:
        watch = feed.run("r1")
        if taken:
            assert await ids(watch) == [1, 2, 3, 4]
        else:
            with pytest.raises(RunfeedError) as caught:
                await ids(watch)
            assert (caught.value.code, caught.value.status) == ("refused", 4401)

    assert opened == [("t1", "1"), ("t2", "2")]


async def test_broken_token() -> None:
    """A get_token that raises is a problem that may mend itself, and is named."""

    def get_token() -> str:
        raise LookupError("the vault is closed")

    async with Runfeed("alice", "http://127.0.0.1:1", "http://127.0.0.1:1", get_token=get_token) as feed:
        watch = feed.run("r1")
        watching = asyncio.create_task(ids(watch))
        await eventually(lambda: watch.error is not None)
        assert watch.error is not None
        assert (watch.error.code, "LookupError: the vault is closed" in str(watch.error)) == ("token", True)
        with pytest.raises(RunfeedError, match="vault"):
            await feed.runs()
    with pytest.raises(RunfeedError, match="closed"):
        await watching


async def test_no_token_any_more(serve: Serve) -> None:
    """A get_token that raises a RunfeedError ends all with it."""

    def get_token() -> str:
        raise RunfeedError("forbidden", "the key may not mint", 403)

    server = await serve(Hub(lambda *_: None))
    async with Runfeed("alice", server.base, server.base, get_token=get_token) as feed:
        with pytest.raises(RunfeedError, match="the key may not mint"):
            await ids(feed.run("r1"))


async def test_token_of_the_environment(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNFEED_TOKEN is the token where there is no get_token, and is read anew when it was refused."""

    async def answer(request: web.Request) -> web.StreamResponse:
        tokens.append(token_of(request))
        if tokens[-1] == "old":
            monkeypatch.setenv("RUNFEED_TOKEN", "new")
            return web.json_response({"code": "token_expired"}, status=401)
        return history(*EVENTS, END, status="completed")

    tokens: list[str | None] = []
    monkeypatch.setenv("RUNFEED_TOKEN", "old")
    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base) as feed:
        assert await ids(feed.run("r1")) == [1, 2]
    async with Runfeed("alice", server.base, server.base, get_token=lambda: "given") as feed:
        assert await ids(feed.run("r1")) == [1, 2]

    assert list(dict.fromkeys(tokens)) == ["old", "new", "given"]


@pytest.mark.parametrize("token", [f"{SECRET} x", f"{SECRET}\r\nX: y", f"é{SECRET}", "", None, SECRET.encode()])
async def test_no_token_at_all(serve: Serve, token: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What no header can carry is no token: that is said, without it, and nothing is asked with it."""
    caplog.set_level(logging.DEBUG)
    server = await serve(Hub(lambda *_: None))
    async with Runfeed("alice", server.base, server.base, get_token=lambda: token) as feed:
        watch = feed.run("r1")
        watching = asyncio.create_task(ids(watch))
        await eventually(lambda: watch.error is not None)
        shown = f"{watch.error!r} {watch.error} {feed!r} {feed._driver!r} {caplog.text}"
        watching.cancel()

    assert "must return text of visible ASCII characters" in shown
    assert SECRET not in shown
    assert server.asked == []


async def test_no_secret_is_shown(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """No token is in a log, even at DEBUG, in a repr or in an error, when all goes well and when it is refused."""

    async def speak(socket: web.WebSocketResponse, _: int) -> None:
        await socket.send_json(EXPIRING)
        await hub.hear(socket)
        shown.extend(repr(each) for each in (feed, feed._driver, feed._tokens, feed._places, watch))
        await socket.close(code=4401, message=b"token_expired")

    def get_token() -> str:
        given.append(f"{SECRET}-{len(given)}")
        return given[-1]

    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    given: list[str] = []
    hub = Hub(speak, takes=1)
    server = await serve(hub)
    async with Runfeed("alice", server.base, server.base, get_token=get_token) as feed:
        watch = feed.run("r1")
        with pytest.raises(RunfeedError) as caught:
            await ids(watch)
        shown += [repr(caught.value), *traceback.format_exception(caught.value)]

    assert SECRET in str(hub.heard[0])
    assert SECRET in str(hub.tokens[0])
    assert SECRET not in caplog.text + "".join(shown)


@pytest.mark.parametrize("url", ["http://alice:s3cret@h", "http://h/?token=s3cret", "http://h#s3cret"])
def test_no_place_for_a_secret(url: str) -> None:
    """A base URL has no user, query or fragment, and is not repeated when it has."""
    for api, hub in ((url, None), ("http://h", url)):
        with pytest.raises(RunfeedError, match="without user, query and fragment") as caught:
            Runfeed("alice", api, hub)
        assert SECRET not in str(caught.value)
