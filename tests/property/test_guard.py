"""fanout.guard: in whatever order things happen, nobody is let in without a token, and nothing is left of anybody."""

import asyncio
import time
from collections import Counter
from collections.abc import Hashable
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fanout.deliver import Connection
from fanout.door import AUTH, CLOSING, OPEN, WAITING
from fanout.history import Redeemed, Revocation
from tests.integration.fanout.hubs import client_frame
from tests.unit.fanout.pasts import Standing
from tests.unit.fanout.proofs import OURS, TICKET, auth, bearer, message, token
from tests.unit.fanout.worlds import PING, Memory, say

REQUESTS = (
    ("/ws", ""),
    ("/ws", OURS),
    ("/ws", "{bearer}"),
    ("/ws?after=1", "{bearer}" + OURS),
    ("/ws/runs/r1", "{bearer}"),
    ("/sse?after=0", "{bearer}"),
    (f"/ws?ticket={TICKET}", ""),
    ("/sse", "Authorization: Bearer x.y.z\r\n"),
    ("/ws?username=bob", "{bearer}"),
    ("/ws", "{guest}"),
    ("/ws", "{named}"),
    ("/healthz", ""),
)
# Who is at the other end: somebody, a proxy (of somebody, who is not told), or nobody any more.
PEERS = (("192.0.2.1", 1000), ("192.0.2.1", 1000), ("10.0.0.1", 1000), None)
WORDS = ("token", "short", "bad", "other", "ping", "text", "close", "half", "fragment", "garbage")
STEPS = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(REQUESTS), st.sampled_from(PEERS)),
    st.tuples(st.just("connect"), st.sampled_from(REQUESTS), st.sampled_from(PEERS)),
    st.tuples(st.just("say"), st.integers(0, 5), st.sampled_from(WORDS)),
    st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(("lost", "eof"))),
    st.tuples(st.sampled_from(("turn", "expire", "revoke", "hold", "open", "away", "publish", "drain"))),
)


def shown(exp: float) -> dict[str, str]:
    """What requests show: the user's own token, and those of guests, of which one has a name of its own."""
    return {
        "bearer": bearer(exp=exp),
        "guest": bearer(exp=exp, run_ids=["r1"]),
        "named": bearer(exp=exp, run_ids=["r1"], jti="g"),
    }


def words(kind: str, now: float) -> bytes:
    """What a client sends."""
    if kind in ("token", "short", "other"):
        return message(token("bob" if kind == "other" else "alice", exp=now + (1 if kind == "short" else 60)))
    return {
        "bad": message("x.y.z"),
        "ping": PING,
        "text": client_frame(1, b"hello"),
        "close": client_frame(8, b"\x03\xe8"),
        "half": message("x.y.z")[:20],
        "fragment": client_frame(1, b'{"type"', fin=False),
        "garbage": b"\xff\xff",
    }[kind]


class Player:
    """Plays steps on a hub."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.peers: list[tuple[Connection, Memory]] = []

    async def play(self, step: tuple[Any, ...]) -> None:
        """One step."""
        standing, (kind, *rest) = self.standing, step
        if kind == "connect":
            target, more = rest[0]
            transport = Memory()
            transport.peer = rest[1]
            self.peers.append(
                (standing.say(transport, target, more.format_map(shown(standing.hub.clock() + 60))), transport)
            )
        elif kind in ("say", "end") and rest[0] < len(self.peers):
            connection, transport = self.peers[rest[0]]
            if connection not in standing.hub.connections or transport.aborted:
                return
            if kind == "end":
                connection.eof_received() if rest[1] == "eof" else connection.connection_lost(None)
            elif not transport.paused:
                say(connection, words(rest[1], standing.hub.clock()))
        else:
            await self.happen(kind)

    async def happen(self, kind: str) -> None:
        """What happens to all of them."""
        standing = self.standing
        if kind == "turn":
            standing.turn(3)
        elif kind == "expire":
            standing.expire(standing.passed + 40)
        elif kind == "revoke":
            standing.past.revoked.append(Revocation(username="alice", before=time.time() + 1))
            standing.past.away = False
            await standing.hub.revocations.read()
        elif kind == "hold":
            standing.past.gate.clear()
        elif kind == "open":
            standing.past.gate.set()
        elif kind == "away":
            standing.past.away = not standing.past.away
        elif kind == "publish":
            standing.publish(1, 2)
        elif kind == "drain":
            standing.hub.draining = True
            for connection in list(standing.hub.connections):
                connection.close(1012, "restarting")
                connection.refuse_waiting(standing.hub.guard.late(connection))


def consistent(standing: Standing) -> None:
    """What is counted is what there is, and nobody whose token was not verified is anywhere."""
    judge = standing.hub.guard
    seats: Counter[Hashable] = Counter()
    counted: Counter[str] = Counter()
    for connection in standing.hub.connections:
        guest = connection.guest
        assert guest is not None
        if connection.state in (OPEN, WAITING) and guest.task is None:
            assert guest.principal is not None
            assert connection.admission.username == guest.principal.username
            assert guest.seat is not None
        if connection.state in (AUTH, CLOSING):
            assert guest.seat is None
        if guest.seat is not None:
            seats[guest.seat] += 1
        counted[guest.address] += 1
    assert {seat: judge._users.of(seat) for seat in seats} == seats
    assert len(judge._users) == len(seats)
    del counted[""]
    assert judge._addresses.of("") == 0
    assert {name: judge._addresses.of(name) for name in counted} == counted
    assert len(judge._addresses) == len(counted)
    assert all(connection.state == OPEN for connection in standing.hub.sockets)


async def played(steps: list[tuple[tuple[Any, ...], int]]) -> int:
    """Play all, then let everybody go; how many were open at some time."""
    async with Standing(auth=auth(TRUSTED_PROXIES="10.0.0.1"), sockets_per_user=2, messages_per_min=3) as standing:
        standing.past.append("alice", 2)
        standing.past.owners["r1"] = "alice"
        standing.past.tickets[TICKET] = Redeemed("alice", None, time.time() + 60), None
        player = Player(standing)
        for step, turns in steps:
            await player.play(step)
            consistent(standing)
            for _ in range(turns):
                await asyncio.sleep(0)
            consistent(standing)
        for connection in list(standing.hub.connections):
            connection.connection_lost(None)
        standing.past.gate.set()
        for _ in range(20):
            await asyncio.sleep(0)

        assert standing.clean()
        assert not standing.hub.connections
        assert len(standing.hub.joins) == 0
        assert len(standing.hub.wheel) == 0
        return standing.hub.metrics.opened


@given(st.lists(st.tuples(STEPS, st.integers(0, 6)), min_size=3, max_size=25))
@settings(max_examples=300, deadline=None)
def test_nothing_is_left(steps: list[tuple[tuple[Any, ...], int]]) -> None:
    """After any history of connections nobody is counted, no task runs and no deadline waits."""
    event("opened" if asyncio.run(played(steps)) else "none opened")
