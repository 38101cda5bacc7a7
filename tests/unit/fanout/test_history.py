"""fanout.history: what is made of the API's answers, good and bad."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from fanout import answers
from fanout.errors import CursorUnknown, HistoryAway
from fanout.history import History, Page
from fanout.metrics import Metrics

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Asked:
    """A server that answers as it is told, and the History that asks it."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.requests: list[str] = []
        self.authorization: list[str | None] = []
        self.history: History
        self.metrics = Metrics()

    async def answer(self, request: web.Request) -> web.Response:
        """Every request."""
        self.requests.append(request.raw_path)
        self.authorization.append(request.headers.get("Authorization"))
        return web.Response(status=self.status, body=self.body)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """A running one."""
    found = Asked()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    async with TestServer(app) as server:
        found.history = History(str(server.make_url("")).rstrip("/"), found.metrics)
        yield found
        await found.history.close()


async def test_heads(asked: Asked) -> None:
    """Heads are read; fields that are new do no harm."""
    asked.body = b'{"epoch":"e","heads":{"alice":7},"new":1}'
    assert (await asked.history.heads(["alice"])).heads == {"alice": 7}
    assert (asked.history.answering, asked.metrics.history) == (True, {("heads", "ok"): 1})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (404, b"{}"),
        (302, b"{}"),
        (200, b"garbage"),
        (200, b'{"epoch":"e"}'),
        (200, b'{"epoch":"e","heads":{"a":"x"}}'),
    ],
)
async def test_away(asked: Asked, status: int, body: bytes) -> None:
    """Whatever is no answer is history being away, and is counted so."""
    asked.status, asked.body = status, body
    with pytest.raises(HistoryAway):
        await asked.history.heads(["alice"])
    assert (asked.history.answering, asked.metrics.history) == (False, {("heads", "away"): 1})


async def test_nobody_there() -> None:
    """A port that nobody listens on is history being away."""
    history = History("http://127.0.0.1:1", Metrics())
    with pytest.raises(HistoryAway):
        await history.run("r1")
    await history.close()


async def test_cursor_unknown(asked: Asked) -> None:
    """410 is the cursor's fault, not history's."""
    asked.status, asked.body = 410, b'{"epoch":"e","head":3,"first":1}'
    with pytest.raises(CursorUnknown) as unknown:
        await asked.history.page("alice", 9, 10, None)
    assert (unknown.value.epoch, unknown.value.head, asked.history.answering) == ("e", 3, True)


async def test_run_unknown(asked: Asked) -> None:
    """404 for a run means that there is none."""
    asked.status = 404
    assert await asked.history.run("r1") is None


async def test_names_are_escaped(asked: Asked) -> None:
    """Names go into the request line escaped; with more filters than a line holds all runs are asked for."""
    asked.body = b'{"epoch":"e","events":[],"next":0,"head":0}'
    await asked.history.page("a+b|c", 0, 10, frozenset({"r:1"}))
    await asked.history.page("a", 0, 10, frozenset(f"{n:0128}" for n in range(128)))
    assert asked.requests[0] == "/api/v1/feeds/a%2Bb%7Cc/events?after=0&limit=10&run_id=r:1"
    assert asked.requests[1] == "/api/v1/feeds/a/events?after=0&limit=10"


async def test_too_big(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer beyond all bounds is not read."""
    monkeypatch.setattr(answers, "MAX_ANSWER", 10)
    asked.body = b'{"epoch":"e","heads":{"alice":7}}'
    with pytest.raises(HistoryAway):
        await asked.history.heads(["alice"])


def page(*events: dict[str, object]) -> Page:
    """A page of these events."""
    body = {"events": events, "next": len(events), "head": 9, "epoch": "e"}
    found: Page = msgspec.json.decode(json.dumps(body).encode(), type=Page)
    return found


def test_frames() -> None:
    """Frames keep their bytes; a page is cut at its size, and its cursor is that of its last frame."""
    events: list[dict[str, object]] = [
        {"id": n, "run_id": "r1", "username": "alice", "x": "y" * 100} for n in (1, 2, 3)
    ]
    whole, cut = page(*events), page(*events)
    assert [frame.payload for frame in whole.frames("alice", 10**6)] == [json.dumps(each).encode() for each in events]
    assert (whole.next, [frame.id for frame in cut.frames("alice", 320)], cut.next) == (3, [1, 2], 2)
    assert [frame.id for frame in page(*events).frames("alice", 1)] == [1]


@pytest.mark.parametrize("event", [{"id": 1, "run_id": "r1", "username": "bob"}, {"run_id": "r1", "username": "alice"}])
def test_frames_of_another(event: dict[str, object]) -> None:
    """An event of another user, or without an id, is no history of ours."""
    with pytest.raises(HistoryAway):
        page(event).frames("alice", 1000)


async def test_key(asked: Asked) -> None:
    """A hub with a key shows it with every question; without one it shows nothing."""
    asked.body = b'{"epoch":"e","heads":{}}'
    await asked.history.heads([])
    known = History(asked.history._url.removesuffix("/api/v1"), asked.metrics, "rfk_a_b")
    await known.heads([])
    await known.close()

    assert asked.authorization == [None, "Bearer rfk_a_b"]


async def test_revocations(asked: Asked) -> None:
    """What was revoked is of a user or one token."""
    asked.body = (
        b'{"epoch":"e","next":9,"revocations":[{"number":8,"username":"a","before":1.5},{"number":9,"token_id":"j"}]}'
    )
    found = await asked.history.revocations(7)

    assert asked.requests == ["/api/v1/revocations?after=7"]
    assert [(each.username, each.before, each.token_id) for each in found.revocations] == [
        ("a", 1.5, ""),
        ("", 0.0, "j"),
    ]
    assert (found.epoch, found.next) == ("e", 9)


async def test_redeem(asked: Asked) -> None:
    """A ticket is somebody's, or nobody's; what cannot be told is neither."""
    asked.body = b'{"username":"a","run_ids":null,"expires_at":9.5,"issued_at":1.5,"token_id":null}'
    found = await asked.history.redeem("rft_a", None)
    assert found is not None
    assert (found.username, found.run_ids, found.expires_at, found.issued_at) == ("a", None, 9.5, 1.5)
    asked.status = 404
    assert await asked.history.redeem("rft_a", "http://a") is None
    asked.status = 401
    with pytest.raises(HistoryAway):
        await asked.history.redeem("rft_a", None)

    assert asked.metrics.history == {("ticket", "ok"): 1, ("ticket", "unknown"): 1, ("ticket", "away"): 1}


@pytest.mark.parametrize(
    ("status", "body", "see"),
    [
        (401, b'{"code":"key_unknown"}', "FANOUT_HISTORY_KEY"),
        (403, b'{"code":"forbidden"}', "FANOUT_HISTORY_KEY"),
        (403, b'{"code":"host_forbidden"}', "ALLOWED_HOSTS of the API"),
        (403, b"<html>\xff", "FANOUT_HISTORY_KEY"),
    ],
)
async def test_key_refused(asked: Asked, status: int, body: bytes, see: str) -> None:
    """A key that is not taken is said once, with the setting that is to change; no other call takes that back."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            asked.status, asked.body = status, body
            with pytest.raises(HistoryAway):
                await asked.history.revocations(0)
            asked.status, asked.body = 200, b'{"epoch":"e","heads":{}}'
            await asked.history.heads(["alice"])

    assert [line["see"] for line in lines if line["event"] == "fanout.history_key_refused"] == [see]
    assert asked.history.refused
    asked.body = b'{"epoch":"e","revocations":[],"next":0}'
    await asked.history.revocations(0)
    assert not asked.history.refused
