"""The hub's port where tokens say who asks: whatever is sent, nobody sees an event without its owner's token.

Two users have events that nobody may see but them. A visitor sends bytes of chance, made of good and bad requests,
tokens and messages. What it is shown must be covered by a genuine token that stands in what it sent.
"""

from __future__ import annotations

import asyncio
import json
import re
from functools import cache

from hypothesis import strategies as st

from fanout.auth_config import AuthConfig
from fanout.deliver import Connection
from fanout.door import SLICE
from fanout.hub import Hub
from fanout.metrics import Metrics
from fanout.pings import Wheel
from fanout.route import Router
from fanout.settings import Settings
from fanout.tokens import mint
from tests.hardening.frames import CLOSE, PING, TEXT, frame_head
from tests.hardening.mutations import lines_of, pieces
from tests.hardening.targets import Target
from tests.hardening.targets.door import FIELDS, TOKENS, answer, check_frames, end
from tests.unit.fanout.worlds import Memory, World, say

KEY = "0123456789abcdef0123456789abcdef"
AUTH = AuthConfig.from_env({"WATCH_TOKEN_KEY": KEY}, "127.0.0.1")
YEAR_2100 = 4102444800.0
EVENTS = (("alice", "r1"), ("alice", "r2"), ("bob", "r1"), ("bob", "r3"))
Claim = tuple[str, tuple[str, ...] | None]
CLAIMS: tuple[Claim, ...] = (("alice", None), ("alice", ("r1",)), ("bob", None), ("bob", ("r3", "r1")))


@cache
def minted() -> dict[bytes, Claim]:
    """Genuine tokens, and what each shows."""
    made = {}
    for username, runs in CLAIMS:
        text = mint(KEY.encode(), username=username, runs=runs, audience="runfeed", now=1.7e9, ttl=YEAR_2100 - 1.7e9)
        made[text.encode()] = (username, runs)
    return made


class Proven(World):
    """A hub that wants tokens, and two users' events."""

    def __init__(self) -> None:
        self.wheel: Wheel[Connection] = Wheel(tick=1, longest=25)
        self.hub = Hub(Settings(auth=AUTH), Router(judged=False, hold=0.05), self.wheel, Metrics())

    def publish_all(self) -> None:
        """An event of each run."""
        for username, run_id in EVENTS:
            payload = json.dumps({"username": username, "run_id": run_id, "secret": f"of {username}"}).encode()
            self.hub.receive([[b"pmessage", b"run:*", f"run:{run_id}".encode(), payload]])


async def turns() -> None:
    """Let what is under way come to its end: a verification is a task."""
    for _ in range(5):
        await asyncio.sleep(0)


async def visit(given: list[bytes]) -> bytes:
    """All that a visitor is told who sends this; nothing of it is left behind."""
    world = Proven()
    connection, transport = world.hub.connect(), Memory()
    connection.connection_made(transport)
    for piece in given:
        for start in range(0, len(piece), SLICE):
            await turns()
            if not (transport.aborted or transport.paused):
                say(connection, piece[start : start + SLICE])
            world.publish_all()
    await turns()
    world.publish_all()
    told = bytes(transport.written)
    end(world, connection, transport)
    await asyncio.sleep(0)
    assert not world.hub.guard.tasks
    return told


def shown(told: bytes) -> set[tuple[str, str]]:
    """The (user, run) of every event in what the hub said."""
    found = re.findall(rb'"username": "([^"]*)", "run_id": "([^"]*)"', told)
    return {(username.decode(), run_id.decode()) for username, run_id in found}


def rightful(sent: bytes) -> set[tuple[str, str]]:
    """What may be shown to whoever sent this."""
    may = {claim for token, claim in minted().items() if token in sent}
    return {
        (username, run_id)
        for username, run_id in EVENTS
        if any(user == username and (runs is None or run_id in runs) for user, runs in may)
    }


def check_visit(given: list[bytes]) -> None:
    """What is shown is the visitor's own; what is said is well-formed."""
    told = asyncio.run(visit(given))
    assert shown(told) <= rightful(b"".join(given)), f"shown: {shown(told)}"
    if told:
        status, rest = answer(told)
        if status == 101:
            check_frames(rest)


def text(payload: bytes) -> bytes:
    """A text whose mask is zeroes: what it says stands in it as it is."""
    return frame_head(TEXT, len(payload), mask=bytes(4)) + payload


@st.composite
def visits(draw: st.DrawFn) -> list[bytes]:
    """A request with a token in some place, messages with tokens behind it, and changes to all of that."""
    token, other = draw(st.sampled_from(tuple(minted()))), draw(st.sampled_from(tuple(minted())))
    own = minted()[token][0].encode()
    user = draw(st.sampled_from((own, own, b"alice", b"bob", b"Alice", b"alic")))
    query = draw(
        st.sampled_from((
            b"", b"", b"?run_id=r2", b"?run_id=r1", b"?username=" + user, b"?username=" + user + b"&run_id=r1",
            b"?run_id=r9&run_id=r3", b"?token=" + token, b"?ticket=" + token, b"?ticket=rft_abc",
            b"?username=alice&username=bob",
        ))
    )  # fmt: skip
    carrier = draw(
        st.sampled_from((
            b"", b"Authorization: Bearer " + token + b"\r\n", b"Sec-WebSocket-Protocol: runfeed.v1\r\n",
            b"Sec-WebSocket-Protocol: runfeed.v1, bearer." + token + b"\r\n",
            b"Authorization: Bearer " + token + b"\r\n", b"Authorization: bearer   " + token + b"\r\n",
            b"Sec-WebSocket-Protocol: runfeed.v1, bearer." + token + b"\r\n", b"Sec-WebSocket-Protocol: runfeed.v1\r\n",
            b"Authorization: Bearer " + token[:-2] + b"\r\n", b"Authorization: Bearer rfk_a_" + token + b"\r\n",
            b"Authorization: Bearer " + token + b"\r\nAuthorization: Bearer " + other + b"\r\n",
            b"Cookie: token=" + token + b"\r\n",
        ))
    )  # fmt: skip
    path = draw(st.sampled_from((b"/ws", b"/ws", b"/sse", b"/ws/runs/r1", b"/api/v1/events/r3")))
    request = b"GET " + path + query + b" HTTP/1.1\r\n" + FIELDS + carrier + b"\r\n"
    messages = (
        text(b'{"type":"auth","token":"' + token + b'"}'), text(b'{"type":"auth","token":"' + other + b'"}'),
        text(b'{"type":"auth","token":"x"}'), text(b'{"type":"auth"}'), text(b"hello"), text(token),
        text(b'{"token":"' + token + b'"}'), frame_head(PING, 0, mask=bytes(4)), frame_head(CLOSE, 0, mask=bytes(4)),
    )  # fmt: skip
    said = b"".join(draw(st.lists(st.sampled_from(messages), max_size=3)))
    changed = draw(st.integers(0, 4)) == 0
    return draw(pieces(lines_of((request + said,), TOKENS) if changed else st.just(request + said)))


TARGETS = [Target("proven", visits(), check_visit, share=4)]
