"""fanout.guard: who may, by which credential, and how everybody else is refused."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout.door import AUTH, CLOSING, OPEN
from fanout.history import Redeemed, Revocation
from fanout.revocations import STALE
from tests.integration.fanout.hubs import client_frame
from tests.support import eventually
from tests.unit.fanout.pasts import Standing, answered, closed, code, ids, opened, problem, reason, said
from tests.unit.fanout.proofs import OURS, TICKET, auth, bearer, message, token
from tests.unit.fanout.worlds import PING, Memory, say


@pytest.fixture
async def proven() -> AsyncIterator[Standing]:
    """A hub with a history that wants tokens."""
    async with Standing(auth=auth()) as found:
        yield found


@pytest.mark.parametrize("target", ["/ws", "/ws?username=alice", "/sse", "/sse?username=alice&named=1"])
async def test_header(proven: Standing, target: str) -> None:
    """A token in the header is enough, with or without the name that it is of."""
    connection, transport = proven.connect(target, bearer())
    await answered(transport)

    assert (connection.state, connection.admission.username) == (OPEN, "alice")
    assert bytes(transport.written[9:12]) == (b"200" if "sse" in target else b"101")
    proven.publish(1)
    assert b'"id": 1' in transport.written


async def test_subprotocol(proven: Standing) -> None:
    """A token beside runfeed.v1 is taken, and not told back."""
    offer = f"Sec-WebSocket-Protocol: runfeed.v1, bearer.{token()}\r\n"
    connection, transport = proven.connect("/ws", offer)

    assert b"\r\nSec-WebSocket-Protocol: runfeed.v1\r\n\r\n" in await answered(transport)
    assert (connection.state, connection.admission.username) == (OPEN, "alice")


async def test_ticket(proven: Standing) -> None:
    """A ticket is used once, of the page that it was made for; the second time it is nothing."""
    ticket = Redeemed("alice", ["r1"], time.time() + 60), "http://localhost"
    proven.past.tickets[TICKET] = ticket
    foreign = proven.connect(f"/ws?ticket={TICKET}", "Origin: http://localhost:3000\r\n")[1]
    assert (await answered(foreign)).startswith(b"HTTP/1.1 401 ")
    proven.past.tickets[TICKET] = ticket
    connection, transport = proven.connect(f"/ws?ticket={TICKET}", "Origin: http://localhost\r\n")
    assert (await answered(transport)).startswith(b"HTTP/1.1 101 ")
    assert (connection.admission.username, connection.admission.runs) == ("alice", frozenset({"r1"}))
    again = proven.connect(f"/ws?ticket={TICKET}", "Origin: http://localhost\r\n")[1]

    assert (await answered(again)).startswith(b"HTTP/1.1 401 ")
    assert problem(again)["code"] == "token_invalid"


async def test_ticket_of_an_event_source(proven: Standing) -> None:
    """A page's EventSource of its own origin names no Origin, though the page's POST for the ticket did."""
    proven.past.tickets[TICKET] = Redeemed("alice", None, time.time() + 60), "http://localhost"
    connection, transport = proven.connect(f"/sse?ticket={TICKET}")

    assert (await answered(transport)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert connection.admission.username == "alice"


async def test_concurrent_tickets(proven: Standing) -> None:
    """Of ten that show the same ticket at once one gets in."""
    proven.past.tickets[TICKET] = Redeemed("alice", None, time.time() + 60), None
    transports = [proven.connect(f"/ws?ticket={TICKET}")[1] for _ in range(10)]
    await eventually(lambda: all(each.written for each in transports))

    assert sorted(bytes(each.written[9:12]) for each in transports) == [b"101"] + [b"401"] * 9


async def test_first_message(proven: Standing) -> None:
    """Who shows nothing is answered 101, may ping, and gets a feed when the first message says whose."""
    connection, transport = proven.connect("/ws?username=alice")
    assert transport.written.startswith(b"HTTP/1.1 101 ")
    say(connection, PING)
    assert transport.written.endswith(b"\x8a\x00")
    proven.publish(1)
    assert proven.hub.router.feeds == {}
    say(connection, message(token()) + PING)
    await eventually(lambda: connection.state == OPEN)
    proven.publish(1)

    assert (ids(transport), transport.paused, len(proven.hub.sockets)) == ([1], False, 1)
    assert proven.hub.guard._users.of("alice") == 1


async def test_the_librarys_protocol_is_let_go(proven: Standing) -> None:
    """Who is known, and says nothing more, is as small as whoever showed a token before: answers to pings are cheap."""
    connection, transport = proven.connect("/ws")
    say(connection, message(token()))
    await eventually(lambda: connection.state == OPEN)
    assert connection.protocol is None
    say(connection, message(token(exp=time.time() + 500)))
    assert connection.protocol is not None
    pinged(proven, transport)
    say(connection, client_frame(10))

    assert (connection.protocol, connection.heard, code(transport)) == (None, True, 0)


async def test_half_a_message_is_kept(proven: Standing) -> None:
    """What has come of a message, or of a frame, is there when the rest comes, pings or not."""
    text = message(token(exp=time.time() + 500))
    body = text[8:]
    fragments = client_frame(1, body[:9], fin=False) + client_frame(0, body[9:])
    for whole, cut in ((text, 1), (text, 7), (text, 100), (fragments, 15), (fragments, 17)):
        connection, transport = await opened(proven, more=OURS)
        say(connection, whole[:cut])
        pinged(proven, transport)
        say(connection, whole[cut:] + client_frame(10))
        await eventually(lambda: said(transport)[-1]["type"] == "authenticated")  # noqa: B023
        pinged(proven, transport)
        assert connection.protocol is None


def pinged(standing: Standing, transport: Memory) -> None:
    """Time passes until the next ping."""
    before = transport.written.count(b"\x89\x00")
    while transport.written.count(b"\x89\x00") == before:
        standing.turn(1)
        assert code(transport) == 0


async def test_first_message_behind_the_head(proven: Standing) -> None:
    """What is sent behind the request, before any answer, is the first message; what follows it is answered."""
    transport = Memory()
    connection = proven.say(transport, "/ws", rest=message(token()) + PING + client_frame(1, b"hello"))
    await eventually(lambda: connection.state == OPEN)

    assert b"\x8a\x00" in transport.written
    say(connection, PING)
    assert transport.written.endswith(b"\x8a\x00")


async def test_frames_behind_the_head(proven: Standing) -> None:
    """What is sent behind a request with a token waits until that is verified, and is then read."""
    transport = Memory()
    proven.past.gate.clear()
    connection = proven.say(transport, "/ws", bearer(), rest=PING + message(token()))
    await eventually(lambda: ("heads", ["alice"]) in proven.past.asked)
    assert (bytes(transport.written), transport.paused) == (b"", True)
    proven.past.gate.set()
    await eventually(lambda: connection.state == OPEN)

    assert transport.written.endswith(b"\x8a\x00")
    assert not transport.paused


async def test_first_message_in_fragments(proven: Standing) -> None:
    """A message may come in fragments, with a ping between them."""
    connection, _ = proven.connect("/ws")
    text = b'{"type":"auth","token":"%b"}' % token().encode()
    say(connection, client_frame(1, text[:9], fin=False) + PING + client_frame(0, text[9:]))

    await eventually(lambda: connection.state == OPEN)


@pytest.mark.parametrize(
    "first",
    [
        client_frame(1, b"hello"),
        client_frame(1, b""),
        client_frame(1, b'{"type":"subscribe"}'),
        client_frame(1, b'{"type":"auth"}'),
        client_frame(1, b'{"type":"auth","token":7}'),
        client_frame(1, b'{"type":"auth","token":"\xff"}'),
        client_frame(1, b"[" * 5000),
        client_frame(2, b'{"type":"auth","token":"x"}'),
        client_frame(2, b"\x00", fin=False),
        client_frame(1, b"hello") + message("x"),
        message("x") + message("x"),
        client_frame(1, b"x" * 16_385),
        client_frame(1, b"x" * 9000, fin=False) + client_frame(0, b"x" * 9000),
        message("a.b.c"),
    ],
)
async def test_bad_first_message(proven: Standing, first: bytes) -> None:
    """Whatever else comes first is closed 4401, and nothing is left of it."""
    connection, transport = proven.connect("/ws", OURS)
    say(connection, first)
    await eventually(lambda: connection.state == CLOSING)

    assert (code(transport), reason(transport)) == (4401, "token_invalid")
    connection.connection_lost(None)
    await eventually(lambda: proven.clean())
    assert proven.hub.router.feeds == {}


async def test_no_first_message(proven: Standing) -> None:
    """Whoever says nothing is closed 4401 after five seconds, pings or not."""
    connection, transport = proven.connect("/ws")
    for _ in range(5):
        say(connection, PING)
        proven.turn(1)
    assert connection.state == AUTH
    proven.turn(2)

    assert (code(transport), reason(transport)) == (4401, "token_missing")
    assert proven.hub.metrics.unproven == {"token_missing": 1}


@pytest.mark.parametrize(
    ("target", "more", "status", "name", "field"),
    [
        ("/sse", "", 401, "token_missing", None),
        ("/ws", "Authorization: Bearer\r\n", 401, "token_invalid", None),
        ("/ws", "Authorization: bearer nonsense\r\n", 401, "token_invalid", None),
        ("/ws", "Authorization: Bearer rfk_abc_def\r\n", 401, "token_invalid", None),
        ("/ws", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400, "invalid", "Authorization"),
        ("/ws", "Sec-WebSocket-Protocol: bearer.a, bearer.b\r\n", 400, "invalid", "Sec-WebSocket-Protocol"),
        ("/ws", f"Sec-WebSocket-Protocol: bearer.{token()}\r\n", 400, "invalid", "Sec-WebSocket-Protocol"),
        ("/ws?ticket=nonsense", "", 401, "token_invalid", None),
        (f"/ws?ticket={TICKET}", "", 401, "token_invalid", None),
        (f"/ws?ticket={TICKET}&ticket={TICKET}", "", 400, "invalid", "ticket"),
        ("/ws?ticket=a.b.c", "", 400, "token_in_query", None),
        ("/ws?token=x", "", 400, "token_in_query", None),
        ("/sse?access_token=x", "", 400, "token_in_query", None),
        ("/ws?JWT=x", "", 400, "token_in_query", None),
        ("/ws?authorization=x", "", 400, "token_in_query", None),
        ("/ws?bearer=x", "", 400, "token_in_query", None),
        ("/ws?username=a&username=b", "", 400, "invalid", "username"),
        ("/ws?username=", "", 400, "invalid", "username"),
    ],
)
async def test_refused(proven: Standing, target: str, more: str, status: int, name: str, field: str | None) -> None:
    """What proves nothing, or stands in the wrong place, is refused by name; 401 says how it is to be shown."""
    transport = proven.connect(target, more)[1]
    head = await answered(transport)

    found = problem(transport)
    assert (found["status"], found["code"], found.get("field")) == (status, name, field)
    assert (b"\r\nWWW-Authenticate: Bearer\r\n" in head) is (status == 401)
    if name == "token_in_query":
        assert "POST /api/v1/tickets" in found["detail"]


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"exp": 1}, "token_expired"), ({"aud": "other"}, "token_invalid"), ({"exp": None}, "token_invalid")],
)
async def test_bad_token(proven: Standing, changed: dict[str, Any], name: str) -> None:
    """A bad token is 401 by name; for runfeed.v1 it is 4401 with the name as its reason."""
    transport = proven.connect("/ws", bearer(**changed))[1]
    assert (await answered(transport)).startswith(b"HTTP/1.1 401 ")
    assert problem(transport)["code"] == name
    ours = proven.connect("/ws", bearer(**changed) + OURS)[1]
    await answered(ours)

    assert (code(ours), reason(ours)) == (4401, name)
    assert proven.hub.metrics.unproven == {name: 2}


@pytest.mark.parametrize("path", ["/ws", "/sse"])
async def test_anothers_name(proven: Standing, path: str) -> None:
    """Another's name is 403, whatever is watched there."""
    transport = proven.connect(f"{path}?username=bob", bearer())[1]

    assert (await answered(transport)).startswith(b"HTTP/1.1 403 ")
    assert (problem(transport)["code"], problem(transport)["field"]) == ("forbidden", "username")
    assert proven.hub.router.feeds == {}


async def test_runs_of_a_token(proven: Standing) -> None:
    """What a socket asks for is cut to the runs that the token names."""
    for asked, expected in (
        ("", {"r1", "r2"}),
        ("?run_id=r2&run_id=r3", {"r2"}),
        ("?run_id=r3", set()),
    ):
        connection, transport = proven.connect(f"/ws{asked}", bearer(run_ids=["r1", "r2"]))
        await answered(transport)
        assert connection.admission.runs == frozenset(expected)
    proven.publish(1)
    assert ids(transport) == []


@pytest.mark.parametrize("path", ["/ws/runs", "/sse/runs"])
async def test_paths_of_runs(proven: Standing, path: str) -> None:
    """Another's run, one that the token does not name and one that is not there are one and the same 404."""
    proven.past.owners = {"mine": "alice", "hers": "bob", "other": "alice"}
    bodies = set()
    for run in ("hers", "other", "missing"):
        transport = proven.connect(f"{path}/{run}", bearer(run_ids=["mine", "hers", "missing"]))[1]
        await answered(transport)
        bodies.add(str(problem(transport)))
    transport = proven.connect(f"{path}/mine", bearer(run_ids=["mine"]))[1]

    assert (await answered(transport))[9:12] in (b"101", b"200")
    assert len(bodies) == 1
    assert '"404' not in bodies
    asked = [what for call, what in proven.past.asked if call == "run"]
    assert asked == ["hers", "missing", "mine"]


async def test_run_path_without_a_token(proven: Standing) -> None:
    """Without a token nothing is looked up: a run's path tells strangers nothing."""
    proven.past.owners = {"mine": "alice"}
    await answered(proven.connect("/sse/runs/mine")[1])
    proven.connect("/ws/runs/mine")

    assert not [call for call, _ in proven.past.asked if call == "run"]


async def test_first_message_on_a_runs_path(proven: Standing) -> None:
    """After the first message what is not there is a close, for whoever offered what."""
    for more in ("", OURS):
        connection, transport = proven.connect("/ws/runs/missing", more)
        say(connection, message(token()))
        await closed(transport)
        assert code(transport) == 4404
        assert connection.state == CLOSING


@pytest.mark.parametrize(
    ("target", "claims", "status"),
    [
        ("/sse", None, b"401"),
        ("/sse", {"exp": 1}, b"401"),
        ("/sse?token=x", {}, b"400"),
        ("/sse?username=bob", {}, b"403"),
        ("/sse/runs/missing", {}, b"404"),
        ("/sse?after=5", {}, b"410"),
    ],
)
async def test_a_page_may_read_why(proven: Standing, target: str, claims: dict[str, Any] | None, status: bytes) -> None:
    """A page of another origin, if it may watch, is let read why its stream is refused; else it would see a failure."""
    shown = "" if claims is None else bearer(**claims)
    transport = proven.connect(target, f"{shown}Origin: http://localhost:3000\r\n")[1]
    head = (await answered(transport)).partition(b"\r\n\r\n")[0] + b"\r\n"

    assert head[9:12] == status
    assert b"\r\nAccess-Control-Allow-Origin: http://localhost:3000\r\n" in head
    assert b"\r\nVary: Origin\r\n" in head
    assert b"\r\nAccess-Control-Expose-Headers: Retry-After, WWW-Authenticate\r\n" in head
    assert head.count(b"Access-Control-Allow-Origin") == 1


async def test_with_an_old_list(proven: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the list was read, tokens are taken while history is away, by what was known then."""
    proven.past.revoked.append(Revocation(token_id="gone"))
    await proven.hub.revocations.read()
    proven.past.away = True
    monkeypatch.setattr(proven.hub.revocations, "_clock", lambda: proven.hub.loop.time() + STALE + 1)
    assert proven.hub.revocations.state == "old"

    assert (await answered(proven.connect("/ws", bearer(jti="good"))[1]))[9:12] == b"101"
    assert (await answered(proven.connect("/ws", bearer(jti="gone"))[1]))[9:12] == b"401"


async def test_before_the_first_list(proven: Standing) -> None:
    """Until it is known what was revoked, no token is taken."""
    proven.hub.revocations._known = None
    transport = proven.connect("/ws", bearer())[1]
    assert (await answered(transport)).startswith(b"HTTP/1.1 503 ")
    assert problem(transport)["code"] == "history_away"
    connection, ours = proven.connect("/ws", OURS)
    say(connection, message(token()))
    await closed(ours)

    assert code(ours) == 1013
    assert said(ours)[-1]["reason"] == "history_away"
