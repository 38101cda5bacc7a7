"""fanout.guard: what ends with a token, and that nothing is left of anybody."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout.ask import Client
from fanout.deliver import Connection
from fanout.door import OPEN, WAITING
from fanout.history import Redeemed, Revocation
from tests.integration.fanout.hubs import client_frame
from tests.support import eventually, issuers
from tests.unit.fanout.pasts import Standing, answered, closed, code, ids, opened, problem, reason, said
from tests.unit.fanout.proofs import OURS, TICKET, auth, bearer, message, token
from tests.unit.fanout.worlds import Memory, say


@pytest.fixture
async def proven() -> AsyncIterator[Standing]:
    """A hub with a history that wants tokens."""
    async with Standing(auth=auth()) as found:
        yield found


async def test_expiry(proven: Standing) -> None:
    """When its token has expired a control client is told; 25 s later every socket is closed 4401."""
    _, ours = await opened(proven, more=OURS)
    _, plain = await opened(proven)
    proven.expire(59)
    assert [each["type"] for each in said(ours)] == ["connected"]
    proven.expire(60.5)
    assert said(ours)[-1] == {"control": True, "type": "auth_expiring", "closes_in_ms": 25000}
    assert (said(plain), code(plain)) == ([], 0)
    proven.expire(85)
    assert (code(ours), code(plain)) == (0, 0)
    proven.expire(86)

    assert [(code(each), reason(each)) for each in (ours, plain)] == [(4401, "token_expired")] * 2
    assert said(ours)[-1]["type"] == "auth_expiring"
    assert proven.hub.metrics.unproven == {"token_expired": 2}


async def test_expiry_of_a_stream(proven: Standing) -> None:
    """A stream is told by an event, and ends: it cannot say anything."""
    _, transport = await opened(proven, "/sse")
    proven.expire(60.5)

    assert transport.written.endswith(
        b'event: token_expired\ndata: {"control":true,"type":"token_expired","reason":"expired"}\n\n'
    )
    assert transport.half_closed


async def test_refresh(proven: Standing) -> None:
    """A new token on the same socket prolongs it, told to control clients; nothing else about it changes."""
    connection, transport = await opened(proven, more=OURS)
    proven.expire(60.5)
    end = time.time() + 500
    say(connection, message(token(exp=end)))
    await eventually(lambda: said(transport)[-1]["type"] == "authenticated")
    assert said(transport)[-1]["expires_at"] == end
    proven.expire(100)
    assert code(transport) == 0
    proven.publish(1)
    assert ids(transport) == [1]
    proven.expire(501)
    assert said(transport)[-1]["type"] == "auth_expiring"


@pytest.mark.parametrize(
    ("first", "changed", "expected"),
    [
        ({}, {"username": "bob"}, (4403, "forbidden")),
        ({}, {"run_ids": ["r1"]}, (4403, "forbidden")),
        ({"run_ids": ["r1", "r2"]}, {"run_ids": ["r1"]}, (4403, "forbidden")),
        ({"run_ids": ["r1"]}, {"run_ids": ["r1", "r2"]}, (0, "")),
        ({"run_ids": ["r1"]}, {}, (0, "")),
        ({}, {"exp": 1}, (4401, "token_expired")),
        ({}, {"aud": "x"}, (4401, "token_invalid")),
    ],
)
async def test_refresh_of_another_kind(
    proven: Standing, first: dict[str, Any], changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    """A new token is of the same user and shows no less; a bad one ends the socket."""
    connection, transport = await opened(proven, more=OURS, **first)
    before = connection.admission
    say(connection, message(token(**changed)))
    await eventually(lambda: not proven.hub.guard.tasks)

    assert connection.admission is before
    found = (code(transport), reason(transport) if expected[0] else "")
    assert found == expected


@pytest.mark.parametrize(
    ("first", "then", "wider"),
    [
        ({}, {}, None),
        ({"run_ids": ["r1"]}, {"run_ids": ["r1"]}, None),
        ({"run_ids": ["r1"]}, {"run_ids": ["r1", "r2"]}, True),
        ({"run_ids": ["r1"]}, {}, True),
    ],
)
async def test_refresh_says_what_the_socket_leaves_out(
    proven: Standing, first: dict[str, Any], then: dict[str, Any], wider: bool | None
) -> None:
    """A token of some runs makes a partial socket, and it stays one; a new token that shows more is told to do so."""
    connection, transport = await opened(proven, more=OURS, **first)
    assert said(transport)[0].get("partial") is (True if first else None)
    say(connection, message(token(**then)))
    await eventually(lambda: said(transport)[-1]["type"] == "authenticated")

    assert said(transport)[-1].get("wider") is wider


@pytest.mark.parametrize(
    ("target", "first", "then", "expected"),
    [
        ("/ws?run_id=r1", {}, [{"run_ids": ["r1"]}], 0),
        ("/ws?run_id=r1&run_id=r2", {}, [{"run_ids": ["r1"]}], 4403),
        ("/ws?run_id=r1", {"run_ids": ["r1", "r2"]}, [{"run_ids": ["r1"]}], 0),
        ("/ws", {"run_ids": ["r1"]}, [{}, {"run_ids": ["r1"]}], 0),
        ("/ws", {"run_ids": ["r1"]}, [{}, {"run_ids": ["r2"]}], 4403),
        ("/ws", {}, [{}, {"run_ids": ["r1"]}], 4403),
        ("/ws/runs/mine", {}, [{"run_ids": ["mine"]}], 0),
    ],
)
async def test_refresh_for_what_the_socket_shows(
    proven: Standing, target: str, first: dict[str, Any], then: list[dict[str, Any]], expected: int
) -> None:
    """What a new token must show is what the socket shows, whatever the token before it would have shown."""
    proven.past.owners["mine"] = "alice"
    connection, transport = await opened(proven, target, **first)
    for claims in then:
        say(connection, message(token(**claims)))
        await eventually(lambda: not proven.hub.guard.tasks)

    assert code(transport) == expected


@pytest.mark.parametrize("why", ["expired", "revoked"])
async def test_trouble_with_one(proven: Standing, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Where the end of one socket goes wrong it is cut, and the others end as they should."""
    close, ends = Connection.close, []

    def fail_once(self: Connection, code: int, reason: str, wait_ms: int | None = None) -> None:
        ends.append(self)
        if len(ends) == 1:
            raise RuntimeError("for the test")
        close(self, code, reason, wait_ms)

    found = dict([await opened(proven) for _ in range(3)])
    monkeypatch.setattr(Connection, "close", fail_once)
    if why == "expired":
        proven.expire(60.5)
        proven.expire(86)
    else:
        proven.past.revoked.append(Revocation(username="alice", before=time.time() + 1))
        await proven.hub.revocations.read()

    assert len(ends) == 3
    assert [(found[each].aborted, code(found[each])) for each in ends] == [(True, 0), (False, 4401), (False, 4401)]


async def test_chatter(proven: Standing) -> None:
    """What a known client says otherwise is of no interest."""
    connection, transport = await opened(proven)
    for words in (b"hello", b'{"type":"x"}', b"[]", b"\xff", b"{"):
        say(connection, client_frame(1, words) + client_frame(2, words))
    proven.publish(1)

    assert (ids(transport), code(transport)) == ([1], 0)


async def test_taken_back(proven: Standing) -> None:
    """What was revoked ends at once, wherever it is: open, streaming, replayed to, waiting; new ones are 401."""
    proven.past.append("alice", 3)
    _, ours = await opened(proven, more=OURS)
    _, stream = await opened(proven, "/sse?after=0")
    _, bobs = proven.connect("/ws", bearer("bob"))
    await answered(bobs)
    proven.past.gate.clear()
    waiting, late = proven.connect("/ws?after=3000", bearer())
    await eventually(lambda: waiting.state == WAITING and waiting.guest is not None and waiting.guest.principal)
    proven.past.revoked.append(Revocation(username="alice", before=time.time() + 1))
    await proven.hub.revocations.read()

    assert (code(ours), reason(ours)) == (4401, "token_revoked")
    assert b'"type":"token_expired","reason":"revoked"' in stream.written
    assert stream.half_closed
    assert late.written.startswith(b"HTTP/1.1 401 ")
    assert code(bobs) == 0
    proven.past.gate.set()
    again = proven.connect("/ws", bearer())[1]
    assert (await answered(again)).startswith(b"HTTP/1.1 401 ")
    assert problem(again)["code"] == "token_revoked"
    assert proven.hub.revocations.count == 1


async def test_taken_back_without_a_time(proven: Standing) -> None:
    """A token that does not say when it was issued is told that this is why it is refused."""
    proven.past.revoked.append(Revocation(username="alice", before=5.0))
    await proven.hub.revocations.read()
    transport = proven.connect("/ws", bearer(iat=None))[1]
    await answered(transport)

    assert problem(transport)["code"] == "token_revoked"
    assert problem(transport)["detail"].endswith("this one does not say when it was issued (`iat`)")


async def test_one_token_taken_back(proven: Standing) -> None:
    """A token's name takes back that token alone, and the ticket that was had for it."""
    _, one = await opened(proven, jti="a")
    _, other = await opened(proven, jti="b")
    proven.past.tickets[TICKET] = Redeemed("alice", None, time.time() + 60, time.time(), "a"), None
    by_ticket = proven.connect(f"/ws?ticket={TICKET}")[1]
    await answered(by_ticket)
    proven.past.revoked.append(Revocation(token_id="a"))
    await proven.hub.revocations.read()

    assert [code(each) for each in (one, other, by_ticket)] == [4401, 0, 4401]


async def test_refresh_with_what_was_taken_back(proven: Standing) -> None:
    """A new token that was revoked before ends the socket."""
    proven.past.revoked.append(Revocation(token_id="gone"))
    await proven.hub.revocations.read()
    connection, transport = await opened(proven)
    say(connection, message(token(jti="gone")))
    await closed(transport)

    assert (code(transport), reason(transport)) == (4401, "token_revoked")


@pytest.mark.parametrize("end", ["lost", "eof", "close frame", "drain", "time"])
@pytest.mark.parametrize("at", ["head", "asked", "verifying", "verifying message", "waiting", "open", "renewing"])
async def test_nothing_is_left(at: str, end: str) -> None:
    """However a connection ends, and wherever it was then, nobody is counted and nothing is under way."""
    async with Standing(auth=auth()) as standing:
        past = standing.past
        past.tickets[TICKET] = Redeemed("alice", None, time.time() + 60), None
        if at in ("verifying", "waiting"):
            past.gate.clear()
        connection, transport = standing.connect(
            {"verifying": f"/ws?ticket={TICKET}", "head": "/healthz"}.get(at, "/ws"),
            "" if at in ("head", "asked", "verifying", "verifying message") else bearer(),
        )
        if at == "verifying":
            await eventually(lambda: ("redeem", TICKET) in past.asked)
        elif at == "verifying message":
            say(connection, message(token()))
        elif at == "waiting":
            await eventually(lambda: ("heads", ["alice"]) in past.asked)
        elif at in ("open", "renewing"):
            await eventually(lambda: connection.state == OPEN)
            if at == "renewing":
                say(connection, message(token()))
        ended(standing, connection, transport, end)
        connection.connection_lost(None)
        past.gate.set()
        await eventually(lambda: standing.clean())

        assert standing.hub.connections == standing.hub.sockets == set()
        assert len(standing.hub.joins) == 0
        assert standing.hub.router.feeds == {}


def ended(standing: Standing, connection: Connection, transport: Memory, end: str) -> None:
    """The end of a connection, as the loop or the operator brings it."""
    if end == "eof":
        connection.eof_received()
    elif end == "close frame" and not transport.paused:
        say(connection, client_frame(8, b"\x03\xe8"))
    elif end == "drain":
        standing.hub.draining = True
        for each in list(standing.hub.sockets):
            each.close(1012, "restarting")
        connection.refuse_waiting(standing.hub.guard.late(connection))
    elif end == "time":
        standing.turn(30)


async def test_late(proven: Standing) -> None:
    """Who waits for too long is told what for: a ticket is history's to know."""
    proven.past.tickets[TICKET] = Redeemed("alice", None, time.time() + 60), None
    proven.past.gate.clear()
    for target, more, call in ((f"/ws?ticket={TICKET}", "", "redeem"), ("/ws?after=0", bearer(), "heads")):
        transport = proven.connect(target, more)[1]
        await eventually(lambda: proven.past.asked[-1:] and proven.past.asked[-1][0] == call)  # noqa: B023
        proven.turn(12)
        assert (await answered(transport))[9:12] == b"503"
        assert problem(transport)["code"] == "history_away"


async def test_keys_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that waits for its issuer's keys for too long is told that."""
    config = auth(AUTH_HMAC_KEY="", AUTH_JWKS_URL="http://127.0.0.1:9/keys", AUTH_ISSUER=issuers.ISSUER)
    async with Standing(auth=config) as standing:
        asked = asyncio.Event()

        async def never(*_: object) -> tuple[int, bytes]:
            asked.set()
            return await asyncio.Future()

        monkeypatch.setattr(Client, "ask", never)
        shown = issuers.token(issuers.signer("RS256"))
        transport = standing.connect("/ws", f"Authorization: Bearer {shown}\r\n")[1]
        await asked.wait()
        standing.turn(12)

        assert problem(transport)["code"] == "keys_away"
        await standing.hub.guard.verification.close()


async def test_keys_are_away() -> None:
    """While the issuer's keys were never read a token is 503, in the first message 1013; the issuer is asked once."""
    config = auth(AUTH_HMAC_KEY="", AUTH_JWKS_URL="http://127.0.0.1:9/keys", AUTH_ISSUER=issuers.ISSUER)
    async with Standing(auth=config) as standing:
        shown = issuers.token(issuers.signer("RS256"))
        transport = standing.connect("/ws", f"Authorization: Bearer {shown}\r\n")[1]
        assert (await answered(transport)).startswith(b"HTTP/1.1 503 ")
        assert problem(transport)["code"] == "keys_away"
        connection, ours = standing.connect("/ws", OURS)
        say(connection, message(shown))
        await closed(ours)

        assert (code(ours), said(ours)[-1]["reason"]) == (1013, "keys_away")
        assert standing.hub.metrics.jwks == {"failed": 1}
        assert standing.hub.metrics.unproven == {"keys_away": 2}
        await standing.hub.guard.verification.close()
