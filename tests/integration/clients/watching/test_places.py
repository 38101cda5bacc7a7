"""runfeed.places, runfeed.streams, runfeed.driver: what is sent, and what refusals come to. Against small servers."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from runfeed import Runfeed, RunfeedError
from runfeed.places import encoded, retry_after
from tests.integration.clients.watching.serving import END, EVENTS, Serve, history
from tests.integration.clients.watching.worker import ids
from tests.support import eventually

pytestmark = pytest.mark.any_server  # about a client, whatever the stores' versions


async def test_what_is_sent(serve: Serve) -> None:
    """Queries are form-encoded, a plus as %2B; the hub is where the API says, and is asked for once."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/config":
            return web.json_response({"hub": server.base.replace("http", "ws") + "/hub"})
        if request.path == "/hub/ws":
            offered.append(request.headers["Sec-WebSocket-Protocol"])
            socket = web.WebSocketResponse(protocols=("runfeed.v1",))
            await socket.prepare(request)
            if len(offered) > 1:
                await socket.send_json({"control": True, "type": "connected", "head": 1, "epoch": "E"})
                await socket.send_json(END)
            return socket
        return history(*EVENTS)

    offered: list[str] = []
    server = await serve(answer)
    async with Runfeed("a+b", server.base, poll_interval=60) as feed:
        assert await ids(feed.run("r1")) == [1, 2]

    assert server.paths() == [
        "/api/v1/runs/r1/events?limit=2000&after=0&username=a%2Bb",
        "/api/v1/config",
        *["/hub/ws?username=a%2Bb&after=1&epoch=E"] * 2,
    ]
    assert offered == ["runfeed.v1"] * 2
    assert server.asked[0].headers["User-Agent"].startswith("runfeed-python/")


@pytest.mark.parametrize(("status", "code"), [(401, "unauthenticated"), (403, "forbidden"), (400, "http")])
async def test_final_refusal(serve: Serve, status: int, code: str) -> None:
    """A refusal that would come again ends all iterations with its code and status; a new one tries again."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if refusing:
            return web.json_response({} if code == "http" else {"code": code, "detail": "no"}, status=status)
        return history(*EVENTS, END, status="completed")

    refusing = True
    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base, get_token=lambda: "t") as feed:
        watch = feed.run("r1")
        with pytest.raises(RunfeedError) as caught:
            await ids(watch)
        assert (caught.value.code, caught.value.status) == (code, status)
        assert watch.error is caught.value
        refusing = False
        assert await ids(feed.run("r1")) == [1, 2]


async def test_stream_refused(serve: Serve) -> None:
    """A hub that refuses a stream for good ends all; one that is busy is left alone for as long as it says."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api"):
            return history(*EVENTS)
        if len(server.asked) < 4:
            return web.Response(status=503, headers={"Retry-After": "0.05"})
        return web.Response(status=403)

    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base) as feed:
        with pytest.raises(RunfeedError) as caught:
            await ids(feed.run("r1"))
    assert (caught.value.code, caught.value.status) == ("refused", 4403)
    assert len(server.asked) == 4


async def test_no_hub_there(serve: Serve) -> None:
    """An API that does not say where the hub is has it at its own address; when it is not there either, polls do."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/feeds/alice/events":
            return web.json_response({"epoch": "E", "events": [END], "next": 2, "head": 2})
        return history(*EVENTS) if request.path.startswith("/api/v1/runs") else web.Response(status=404)

    server = await serve(answer)
    async with Runfeed("alice", server.base, poll_interval=0.05) as feed:
        assert await ids(feed.run("r1")) == [1, 2]
        assert feed.polls == 1
    assert server.paths()[1:3] == ["/api/v1/config", "/ws?username=alice&after=1&epoch=E"]
    assert "/api/v1/feeds/alice/events?limit=1000&after=1&epoch=E&cause=ws_never&run_id=r1" in server.paths()


async def test_proxy_without_streams(serve: Serve) -> None:
    """A proxy in front of a given hub that knows none of its paths ends nothing: polls show the run."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/feeds/alice/events":
            return web.json_response({"epoch": "E", "events": [END], "next": 2, "head": 2})
        return history(*EVENTS) if request.path.startswith("/api/v1/runs") else web.Response(status=404)

    server = await serve(answer)
    async with Runfeed("alice", server.base, f"{server.base}/hub", poll_interval=0.05) as feed:
        assert await ids(feed.run("r1")) == [1, 2]


async def test_config_away(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody says where the hub is, that is asked with every try."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/config":
            found = server.paths().count(request.path) > 2
            body = {"hub": server.base.replace("http", "ws") + "/hub"}
            return web.json_response(body) if found else web.Response(status=503)
        if request.path != "/hub/ws":
            return history(*EVENTS)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await is_open.wait()
        await socket.send_json(END)
        await socket.receive()
        return socket

    monkeypatch.setattr("runfeed.core.link.FIRST_WAIT", 20)
    monkeypatch.setattr("runfeed.core.link.FAILURES", 9)  # it stays with sockets
    is_open = asyncio.Event()
    server = await serve(answer)
    async with Runfeed("alice", server.base) as feed:
        watching = asyncio.create_task(ids(feed.run("r1")))
        await eventually(lambda: feed.transport == "websocket")  # though this hub says nothing of it
        is_open.set()
        assert await watching == [1, 2]


async def test_events_stream(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of Server-Sent Events says when to come back, is believed, and a reset on it is told."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api"):
            return history(*EVENTS)
        if request.path == "/ws":
            return web.Response(status=500)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        opened.append(request.query_string)
        assert feed._driver is not None
        refused.append(not feed._driver.machine.link.ever_open)
        said = [b"retry: 30\n\n", b": connected\nid: 1\n\n" + RESET + b": heartbeat\nid: 1\n\n" + LAST]
        await stream.write(said[min(len(opened), 2) - 1])
        if len(opened) > 1:
            await asyncio.Event().wait()
        return stream

    opened: list[str] = []
    refused: list[bool] = []
    monkeypatch.setattr("runfeed.core.link.FIRST_WAIT", 20)
    server = await serve(answer)
    async with Runfeed("alice", server.base, server.base, poll_interval=60) as feed, asyncio.timeout(10):
        events = [event async for event in feed.run("r1")]
        await eventually(lambda: feed.transport == "none")

    assert [event.get("id") for event in events] == [1, None, 1, 2]
    assert events[1] == {"control": True, "type": "reset", "epoch": "E", "head": 1}
    assert opened == ["username=alice&after=1&epoch=E"] * 2
    assert refused == [True, True]


RESET = b'event: reset\nid:\ndata: {"control":true,"type":"reset","epoch":"E","head":1}\n\n'
LAST = b'id: 2\ndata: {"id":2,"seq":2,"run_id":"r1","username":"a","type":"workflow_completed"}\n\n'


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 5.0), ("0.5", 0.5), ("-1", 0.0), ("1e9", 300.0), ("nan", None), ("soon", None), (None, None)],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Retry-After is a number of seconds, five minutes at most; nonsense says nothing."""
    assert retry_after(header) == seconds


def test_retry_after_date() -> None:
    """Retry-After may be a date; one that has passed means now."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("Wed, 21 Oct 2065 07:28:00 GMT") == 300.0


def test_encoded() -> None:
    """Names and values are form-encoded, and what is None is left out."""
    assert encoded([("username", "a+b|c@d e"), ("after", None), ("n", 0)]) == "username=a%2Bb%7Cc%40d%20e&n=0"
