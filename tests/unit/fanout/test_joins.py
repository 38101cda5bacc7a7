"""fanout.joins and fanout.replay: a base before the answer, history before live."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fanout import joins, replay
from tests.support import eventually
from tests.unit.fanout.pasts import Standing, code, ids, said
from tests.unit.fanout.proofs import OURS
from tests.unit.fanout.worlds import Memory


@pytest.fixture
async def standing() -> AsyncIterator[Standing]:
    """A hub with a history."""
    async with Standing() as found:
        yield found


async def test_answered_when_the_base_is_there(standing: Standing) -> None:
    """A plain socket is not answered before history has named the head; what came meanwhile it gets."""
    standing.past.append("alice", 5)
    standing.past.gate.clear()
    _, transport = standing.connect()
    await eventually(lambda: ("heads", ["alice"]) in standing.past.asked)
    standing.publish(5, 6, 7)
    assert not transport.written
    assert transport.paused
    standing.past.gate.set()
    await eventually(lambda: transport.written)

    assert transport.written.startswith(b"HTTP/1.1 101 ")
    assert (ids(transport), transport.paused) == ([6, 7], False)
    standing.publish(8)
    assert ids(transport) == [6, 7, 8]


@pytest.mark.parametrize(
    ("target", "head", "partial"),
    [
        ("/ws?username=alice", 5, None),
        ("/ws?username=alice&run_id=r1", 5, True),
        ("/ws?username=alice&run_id=r1&after=2", 2, True),
        ("/ws/runs/mine", 0, None),
    ],
)
async def test_says_that_it_leaves_out_runs(standing: Standing, target: str, head: int, partial: bool | None) -> None:
    """A socket for some runs is told so in its first word, with the id behind which nothing else is left out."""
    standing.past.append("alice", 5)
    standing.past.owners["mine"] = "alice"
    for _ in range(2):  # the second time its feed is watched already
        transport = standing.connect(target, OURS)[1]
        await eventually(lambda at=transport: said(at))  # type: ignore[misc]
        first = said(transport)[0]

        assert (first["type"], first["head"], first.get("partial")) == ("connected", head, partial)


@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("/sse?username=alice", b": connected\nid: 5\n\n"),
        (
            "/sse?username=alice&run_id=r1",
            b": connected\nid: 5\nevent: connected\n"
            b'data: {"control":true,"type":"connected","head":5,"epoch":"e1","partial":true}\n\n',
        ),
        ("/sse/runs/mine", b": connected\nid: 0\n\n"),
    ],
)
async def test_a_stream_says_that_it_leaves_out_runs(standing: Standing, target: str, first: bytes) -> None:
    """The same of a stream, under a name for which no page listens that does not know it."""
    standing.past.append("alice", 5)
    standing.past.owners["mine"] = "alice"
    _, transport = standing.connect(target)
    await eventually(lambda: transport.written)

    assert bytes(transport.written).partition(b"\r\n\r\n")[2].startswith(first)


async def test_unprotected_promises_nothing(standing: Standing) -> None:
    """A socket for some runs that is opened without a base does not say that it leaves out nothing else."""
    standing.past.gate.clear()
    _, socket = standing.connect("/ws?username=alice&run_id=r1", OURS)
    _, stream = standing.connect("/sse?username=alice&run_id=r1")
    await eventually(lambda: socket.written and stream.written, within=2)

    assert said(socket)[0] == {"control": True, "type": "connected", "head": None, "epoch": None}
    assert bytes(stream.written).endswith(b"\r\n\r\n: connected\n\n")


async def test_watched_feed_answers_at_once(standing: Standing) -> None:
    """A socket of a feed that is watched already is answered in the turn in which it comes."""
    _, first = standing.connect()
    await eventually(lambda: first.written)
    asked = [each for each in standing.past.asked if each == ("heads", ["alice"])]
    standing.publish(1, 2)
    _, second = standing.connect()
    assert second.written.startswith(b"HTTP/1.1 101 ")
    standing.publish(3)

    assert (ids(first), ids(second)) == ([1, 2, 3], [3])
    assert [each for each in standing.past.asked if each == ("heads", ["alice"])] == asked


async def test_one_in_flight_one_collecting(standing: Standing) -> None:
    """However many come while heads are asked, the next request is one."""
    standing.past.gate.clear()
    transports = [standing.connect("/ws?username=u0")[1]]
    await eventually(lambda: ("heads", ["u0"]) in standing.past.asked)
    transports += [standing.connect(f"/ws?username=u{n}")[1] for n in range(1, 100)]
    standing.past.gate.set()
    await eventually(lambda: all(transport.written for transport in transports))

    questions = [what for call, what in standing.past.asked if call == "heads" and what and what != ["u0"]]
    assert {f"u{n}" for n in range(1, 100)} in [set(what) for what in questions]  # type: ignore[call-overload]
    assert len(questions) <= 3


async def test_more_than_a_question_holds(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not fit into a question is in the next one, in order of arrival; nobody is forgotten."""
    monkeypatch.setattr(joins, "HEADS", 3)
    transports = [standing.connect(f"/ws?username=u{n}")[1] for n in range(8)]
    await eventually(lambda: all(transport.written for transport in transports))

    asked = [what for call, what in standing.past.asked if call == "heads" and what]
    assert [f"u{n}" for n in range(3)] in asked
    assert [f"u{n}" for n in range(3, 6)] in asked
    assert ["u6", "u7"] in asked


async def test_history_is_late(standing: Standing) -> None:
    """After a second a plain socket is opened unprotected, a cursor told to come back, and both are counted."""
    standing.past.gate.clear()
    _, plain = standing.connect()
    _, resuming = standing.connect("/ws?username=alice&after=3")
    _, ours = standing.connect("/ws?username=alice&after=3", "Sec-WebSocket-Protocol: runfeed.v1\r\n")
    _, stream = standing.connect("/sse?username=alice&after=3")
    standing.publish(9, 8)
    await eventually(lambda: all(each.written for each in (plain, resuming, ours, stream)), within=2)

    assert ids(plain) == [8, 9]
    assert resuming.written.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in resuming.written
    assert ours.written.startswith(b"HTTP/1.1 101 ")
    assert code(ours) == 1013
    assert stream.written.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n: history_away\nretry: " in stream.written
    metrics = standing.hub.metrics
    assert (metrics.joins_unprotected, metrics.joins_protected) == (1, 0)


async def test_leaves_as_it_is_let_in(standing: Standing) -> None:
    """Whoever is opened unprotected with its own close behind the request is gone, and the hub's sums are true."""
    standing.past.away = True
    gone = Memory()
    standing.say(gone, rest=b"\x88\x80\0\0\0\0")
    standing.publish(8, 9)
    await eventually(lambda: gone.written, within=2)

    assert ids(gone) == []
    assert standing.hub.router.feeds == {}
    assert standing.hub.router.kept_bytes == 0


async def test_unprotected_is_protected_later(standing: Standing) -> None:
    """A feed that was opened unprotected has its base with the next head that history names."""
    standing.past.away = True
    _, plain = standing.connect()
    await eventually(lambda: plain.written, within=2)
    standing.past.append("alice", 4)
    standing.past.away = False
    await eventually(lambda: standing.hub.router.feeds["alice"].last == 4, within=5)
    standing.past.append("alice", 3)
    standing.publish(7)

    await eventually(lambda: ids(plain) == [5, 6, 7])


async def test_gone_while_waiting(standing: Standing) -> None:
    """Whoever leaves before the answer leaves nothing behind."""
    standing.past.gate.clear()
    for target in ("/ws?username=alice", "/ws?username=bob&after=3", "/ws/runs/r1"):
        standing.connect(target)[0].connection_lost(None)
    standing.past.owners["r1"] = "carol"
    standing.past.gate.set()
    await eventually(lambda: len(standing.hub.joins) == 0)

    hub = standing.hub
    assert (hub.router.feeds, hub.connections, hub.sockets, len(hub.wheel)) == ({}, set(), set(), 0)


async def test_cursor_beyond_an_old_head(standing: Standing) -> None:
    """A cursor beyond what the hub knows is judged only by a head that was asked for after it came."""
    standing.past.append("alice", 3)
    _, first = standing.connect()
    await eventually(lambda: first.written)
    standing.past.append("alice", 4)  # published, and lost on the way to this hub
    _, ahead = standing.connect("/ws?username=alice&after=6")
    _, beyond = standing.connect("/ws?username=alice&after=8")
    await eventually(lambda: ahead.written and beyond.written)

    assert beyond.written.startswith(b"HTTP/1.1 410 ")
    await eventually(lambda: ids(ahead) == [7])
    await eventually(lambda: ids(first) == [4, 5, 6, 7])


async def test_different_cursors_in_one_pass(standing: Standing) -> None:
    """Sockets that come together share one pass, and each gets what is behind its own cursor."""
    standing.past.append("alice", 100)
    standing.past.most = 40
    sockets = [standing.connect(f"/ws?username=alice&after={after}")[1] for after in (0, 10, 55, 100, 0)]
    await eventually(lambda: all(len(ids(t)) == n for t, n in zip(sockets, (100, 90, 45, 0, 100), strict=True)))

    assert [ids(t) for t in sockets] == [list(range(after + 1, 101)) for after in (0, 10, 55, 100, 0)]
    assert len([1 for call, _ in standing.past.asked if call == "page"]) == 3
    standing.publish(101)
    assert all(ids(t)[-1] == 101 for t in sockets)
    await eventually(lambda: len(standing.hub.replays) == 0)


async def test_latecomer_behind_a_pass(standing: Standing) -> None:
    """A socket whose cursor lies behind the pass under way gets its own, and nothing is left out or given twice."""
    standing.past.append("alice", 100)
    standing.past.most = 30
    _, first = standing.connect("/ws?username=alice&after=20")
    await eventually(lambda: ("page", 50) in standing.past.asked)
    late = [standing.connect(f"/ws?username=alice&after={after}")[1] for after in (5, 60)]
    await eventually(lambda: all(ids(t)[-1:] == [100] for t in (first, *late)))

    assert [ids(t) for t in (first, *late)] == [list(range(after + 1, 101)) for after in (20, 5, 60)]


async def test_page_is_cut(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an answer that is bigger than a page no more than a page is taken at a time, and nothing is left out."""
    monkeypatch.setattr(replay, "PAGE", 1000)
    standing.past.append("alice", 200, 100)
    _, own = standing.connect("/ws?username=alice&after=0")
    writes: list[int] = []
    write = own.write
    own.write = lambda data: (writes.append(len(data)), write(data))[1]  # type: ignore[method-assign, func-returns-value]
    await eventually(lambda: len(ids(own)) == 200)

    assert ids(own) == list(range(1, 201))
    assert max(writes[:10]) < 2000


async def test_own_pace(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page waits until a socket has taken the one before; one that does not in 5 s (here 0.5) is closed."""
    assert replay.PACES * replay.PACE == 5
    monkeypatch.setattr(replay, "PACES", 25)
    standing.past.append("alice", 100)
    standing.past.most = 30
    _, slow = standing.connect("/ws?username=alice&after=0")
    slow.waiting = replay.WAITING_MOST + 1
    await eventually(lambda: slow.written)
    _, quick = standing.connect("/ws?username=alice&after=99")
    await eventually(lambda: code(slow) == 4408)

    assert ids(slow) == []
    assert ids(quick) == [100]


async def test_cursor_that_history_lost(standing: Standing) -> None:
    """A cursor that history does not know any more when its page is asked for: closed 4409, a stream told."""
    standing.past.append("alice", 50)
    standing.past.gate.clear()
    sockets = [
        standing.connect(target)[1] for target in ("/ws?username=alice&after=40", "/sse?username=alice&after=40")
    ]
    await eventually(lambda: ("heads", ["alice"]) in standing.past.asked)
    standing.past.log["alice"] = standing.past.log["alice"][:10]
    standing.past.gate.set()
    await eventually(lambda: code(sockets[0]) == 4409)

    await eventually(lambda: b"event: reset\nid:\n" in sockets[1].written)


async def test_run_of_nobody(standing: Standing) -> None:
    """The owner of a run is looked up; an unknown run and another's are answered by the same bytes."""
    standing.past.owners["r1"] = "alice"
    standing.past.append("alice", 2)
    _, own = standing.connect("/ws/runs/r1")
    _, foreign = standing.connect("/ws/runs/r1?username=bob")
    _, unknown = standing.connect("/ws/runs/r2")
    await eventually(lambda: own.written and foreign.written and unknown.written)

    assert foreign.written.partition(b"\r\n\r\n")[2] == unknown.written.partition(b"\r\n\r\n")[2]
    await eventually(lambda: ids(own) == [1, 2])


async def test_draining_hub(standing: Standing) -> None:
    """A hub that drains lets nobody in: 503, a close 1013, or a stream that ends with when to come back."""
    standing.hub.draining = True
    assert standing.connect()[1].written.startswith(b"HTTP/1.1 503 ")
    assert code(standing.connect(more="Sec-WebSocket-Protocol: runfeed.v1\r\n")[1]) == 1013
    assert b": restarting\nretry: " in standing.connect("/sse?username=alice")[1].written
    await asyncio.sleep(0)
