"""Publishes frames on Redis at a rate, and is the history that the hub asks about them.

    python -m tests.bench.feed < PLAN

The plan is one line of JSON; see `Plan`. First a line says on which port the history answers. A line on stdin, empty or
the port of a hub that takes POSTs, starts the publishing, and a second line says how it went. The history answers until
stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import hiredis
import orjson
from aiohttp import web

from tests.bench.watch import say
from tests.support.pacing import until

EPOCH = "00000000-0000-4000-8000-000000000000-00000000"
PAGE = 256 << 10  # bytes of events in one answer


@dataclass
class Plan:
    """What to publish.

    Fields:
        redis: URL.
        users: the feeds u0, u1, ..; event n is of feed n % users.
        runs: of each feed; its events are of one run after the other.
        count, rate, burst: events in all, a second, and in one write.
        sizes: bytes of a frame, one after the other.
        before: events that each feed has before the first one that is published.
        real: what fills a frame reads like a job's events, not like padding.
    """

    redis: str
    users: int
    count: int
    rate: float
    burst: int = 1
    runs: int = 1
    sizes: list[int] = field(default_factory=lambda: [250])
    before: int = 0
    real: bool = False


class Frames:
    """The frames of a plan. What is published and what the history has differ in `ts`, which is 0 there."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.sent = 0

    def frame(self, user: int, number: int, ts: int = 0) -> tuple[bytes, bytes]:
        """(run, frame) of the event with this number in its feed."""
        run = b"r%d-%d" % (user, number % self._plan.runs)
        head = (
            b'{"id":%d,"seq":%d,"run_id":"%s","username":"u%d","type":"node_completed","node_id":"fetch_flights",'
            b'"status":"completed","recorded_at":%.6f,"ts":%d,"pad":"'
            % (number, number, run, user, ts and time.time(), ts)
        )
        size = self._plan.sizes[(user + number) % len(self._plan.sizes)]
        room = max(0, size - len(head) - 2)
        return run, head + (steps(number, room) if self._plan.real else b"x" * room) + b'"}'

    def head(self, user: int) -> int:
        """How far a feed has come."""
        whole, more = divmod(self.sent, self._plan.users)
        return self._plan.before + whole + (user < more)

    def publishing(self, post: bool) -> Iterator[tuple[bytes, int]]:
        """The commands (or POST requests), a burst at a time, and how many they are."""
        plan = self._plan
        while self.sent < plan.count:
            pieces = []
            for _ in range(min(plan.burst, plan.count - self.sent)):
                whole, user = divmod(self.sent, plan.users)
                run, frame = self.frame(user, plan.before + whole + 1, time.monotonic_ns())
                if post:
                    pieces.append(
                        b"POST /pub?id=u%d HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s"
                        % (user, len(frame), frame)
                    )
                    self.sent += 1
                    continue
                pieces.append(
                    b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\nrun:%s\r\n$%d\r\n%s\r\n" % (4 + len(run), run, len(frame), frame)
                )
                self.sent += 1
            yield b"".join(pieces), len(pieces)


def steps(number: int, size: int) -> bytes:
    """What a job of some steps would say of itself, `size` bytes of it, within a JSON string."""
    text, step = "", 0
    while len(text) < size:
        step += 1
        done = (number * 7919 + step * 104_729) % 1000
        text += (
            f"step={step} name=frame_{done:03d} state=rendered ms={done * 37 % 9973} file=out/{number:05d}-{step}.png; "
        )
    return text[:size].encode()


class History:
    """What orchestrator_api answers a hub, for frames that are made up as they are asked for."""

    def __init__(self, plan: Plan, frames: Frames) -> None:
        self._plan = plan
        self._frames = frames

    def app(self) -> web.Application:
        """The calls that a hub needs."""
        app = web.Application()
        app.router.add_post("/api/v1/feeds/heads", self.heads)
        app.router.add_post("/api/v1/feeds/events", self.events)
        app.router.add_get("/api/v1/feeds/{username}/events", self.page)
        return app

    def head(self, username: str) -> int:
        """0 for whom nobody knows."""
        found = re.fullmatch(r"u(\d+)", username)
        return self._frames.head(int(found[1])) if found and int(found[1]) < self._plan.users else 0

    async def heads(self, request: web.Request) -> web.Response:
        """POST /feeds/heads."""
        names = orjson.loads(await request.read())["usernames"]
        return answer(b'"heads":' + orjson.dumps({name: self.head(name) for name in names}))

    async def events(self, request: web.Request) -> web.Response:
        """POST /feeds/events."""
        after = orjson.loads(await request.read())["after"]
        pages = [
            b"%b:{%b}" % (orjson.dumps(name), self._page(name, start, 1000, None)) for name, start in after.items()
        ]
        return answer(b'"feeds":{' + b",".join(pages) + b"}")

    async def page(self, request: web.Request) -> web.Response:
        """GET /feeds/{username}/events."""
        query = request.query
        runs = {run.encode() for run in query.getall("run_id", [])} or None
        return answer(
            self._page(request.match_info["username"], int(query["after"]), int(query.get("limit", "500")), runs)
        )

    def _page(self, username: str, after: int, limit: int, runs: set[bytes] | None) -> bytes:
        head, size, number = self.head(username), 0, after
        events: list[bytes] = []
        while number < head and len(events) < limit and size < PAGE:
            number += 1
            run, frame = self._frames.frame(int(username[1:]), number)
            if runs is None or run in runs:
                events.append(frame)
                size += len(frame)
        return b'"events":[%s],"next":%d,"head":%d' % (b",".join(events), number, head)


def answer(body: bytes) -> web.Response:
    """An answer of the one epoch that there is."""
    return web.Response(body=b'{"epoch":"%s",%s}' % (EPOCH.encode(), body), content_type="application/json")


async def serve(app: web.Application, ready: threading.Event, port: list[int]) -> None:
    """For ever, on any port."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    port.append(listener.getsockname()[1])
    ready.set()
    await asyncio.Event().wait()


class Posts:
    """One connection that publishes by POST, a burst at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, requests: bytes, replies: int) -> None:
        """Sends and waits for so many answers."""
        self._socket.sendall(requests)
        tail = b""
        while replies > 0:
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionError("the hub takes no more")
            tail += piece
            replies -= tail.count(b"HTTP/1.1 ")
            tail = tail[-8:]


class Redis:
    """One connection that publishes and waits for its replies."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        if parts.password:
            self.ask(hiredis.pack_command(("AUTH", parts.password)), 1)  # type: ignore[arg-type]  # its stub: one word

    def ask(self, commands: bytes, replies: int) -> None:
        """Sends and waits. Raises ConnectionError when Redis refuses."""
        self._socket.sendall(commands)
        while replies:
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionError("Redis is gone")
            self._reader.feed(piece)
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.ReplyError):
                    raise ConnectionError(str(reply))
                replies -= 1


def publish(plan: Plan, frames: Frames, post: int) -> float:
    """All of it at its rate, on Redis or by POST to a port; the seconds that it took."""
    channel = Posts(post) if post else Redis(plan.redis)
    began = time.monotonic()
    for commands, count in frames.publishing(bool(post)):
        channel.ask(commands, count)
        until(began + frames.sent / plan.rate)
    return time.monotonic() - began


def main() -> None:
    """One plan."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    frames = Frames(plan)
    ready, port = threading.Event(), list[int]()
    app = History(plan, frames).app()
    threading.Thread(target=lambda: asyncio.run(serve(app, ready, port)), daemon=True).start()
    ready.wait(10)
    say({"history": port[0]})
    if line := sys.stdin.readline():
        seconds = publish(plan, frames, int(line.strip() or 0))
        say({"published": frames.sent, "seconds": round(seconds, 3), "rate": round(frames.sent / seconds)})
        sys.stdin.read()


if __name__ == "__main__":
    main()
