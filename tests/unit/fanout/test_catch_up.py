"""fanout.catch_up: when history is asked, and what is believed of its answers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fanout import catch_up, replay
from tests.support import eventually
from tests.unit.fanout.pasts import Standing, code, ids
from tests.unit.fanout.worlds import Memory


@pytest.fixture
async def standing() -> AsyncIterator[Standing]:
    """A hub with a history."""
    async with Standing() as found:
        yield found


async def watching(standing: Standing, target: str = "/ws?username=alice", more: str = "") -> Memory:
    """A socket that is open."""
    _, transport = standing.connect(target, more)
    await eventually(lambda: transport.written)
    return transport


def pages(standing: Standing) -> list[object]:
    """What history was asked for, of feeds that miss something."""
    return [what for call, what in standing.past.asked if call == "pages"]


async def test_no_question_within_the_hold(standing: Standing) -> None:
    """A jump that closes within the hold asks nobody."""
    own = await watching(standing)
    standing.publish(2)
    standing.publish(1)
    for _ in range(5):
        await asyncio.sleep(0)

    assert ids(own) == [1, 2]
    assert pages(standing) == []


async def test_hole(standing: Standing) -> None:
    """A hole is asked about once, behind the last id, and closed."""
    standing.past.append("alice", 5)
    own = await watching(standing)
    standing.past.append("alice", 5)
    standing.publish(6, 9, 10)
    await eventually(lambda: ids(own) == [6, 7, 8, 9, 10])

    assert pages(standing) == [{"alice": 6}]
    metrics = standing.hub.metrics
    assert (metrics.heals, metrics.heals_vain, metrics.healed_frames) == (1, 0, 2)


async def test_one_question_a_feed(standing: Standing) -> None:
    """While history is asked about a feed it is not asked about it again, whatever comes."""
    own = await watching(standing)
    standing.past.append("alice", 9)
    standing.past.gate.clear()
    standing.publish(3)
    await eventually(lambda: pages(standing))
    for number in (5, 7, 9):
        standing.publish(number)
    with pytest.raises(AssertionError):
        await eventually(lambda: len(pages(standing)) > 1, within=0.2)
    standing.past.gate.set()

    await eventually(lambda: ids(own) == list(range(1, 10)))


async def test_overtaken_by_live(standing: Standing) -> None:
    """A question that live frames overtake found nothing, and yet does not make the feed slower to ask again."""
    await watching(standing)
    feed = standing.hub.router.feeds["alice"]
    standing.past.append("alice", 2)
    standing.past.gate.clear()
    standing.publish(2)
    await eventually(lambda: pages(standing))
    standing.publish(1)
    standing.past.gate.set()
    await eventually(lambda: standing.hub.metrics.heals_vain == 1)
    assert feed.patience == 1

    standing.publish(9)  # forged
    await eventually(lambda: standing.hub.metrics.heals_vain == 2)
    assert feed.patience == 2


async def test_history_away(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """While history is away sockets stay and questions are repeated; a hole that stays open closes its sockets 1013."""
    monkeypatch.setattr(catch_up, "HOLE_MOST", 1.0)
    own, other = await watching(standing), await watching(standing, "/ws?username=bob")
    standing.past.away = True
    standing.publish(2)
    await eventually(lambda: len(pages(standing)) > 2)
    standing.publish(1, username="bob")
    assert (code(own), ids(other)) == (0, [1])
    await eventually(lambda: code(own) == 1013, within=4)

    assert code(other) == 0
    assert "alice" not in standing.hub.router.feeds


async def test_paced(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next page of a heal waits for the feed's sockets; one that does not take the last in time is closed 4408."""
    monkeypatch.setattr(catch_up, "PACES", 10)
    own, slow = await watching(standing), await watching(standing)
    standing.past.most = 3
    standing.past.append("alice", 9)
    slow.waiting = replay.WAITING_MOST + 1
    standing.publish(9)
    await eventually(lambda: ids(own) == list(range(1, 10)))

    assert code(slow) == 4408
    assert ids(slow) == [1, 2, 3]
    assert standing.hub.router.kept_bytes == 0


async def test_head_named_by_a_reconnect(standing: Standing) -> None:
    """After a (re)connect heads are asked at once, and who is behind catches up."""
    own = await watching(standing)
    standing.past.append("alice", 3)
    standing.hub.catch_up.ask_now()

    await eventually(lambda: ids(own) == [1, 2, 3], within=1)


async def test_answer_of_a_numbering_that_was_left(standing: Standing) -> None:
    """An answer that was asked for before the epoch changed, and names the old one, is not believed."""
    standing.past.append("alice", 3)
    own = await watching(standing, more="Sec-WebSocket-Protocol: runfeed.v1\r\n")
    before = standing.hub.loop.time()
    await eventually(lambda: standing.hub.loop.time() > before)
    assert standing.hub.catch_up.believe("e2", standing.hub.loop.time())
    assert not standing.hub.catch_up.believe("e1", before)
    assert standing.hub.router.epoch == "e2"
    standing.past.epoch = "e2"

    await eventually(lambda: b'"type":"reset"' in own.written)
    assert code(own) == 0


async def test_epoch_on_redis_is_a_suspicion(standing: Standing) -> None:
    """Beacons of other epochs, however many, cost a question a second and close nobody."""
    own = await watching(standing)
    asked = len(standing.past.asked)
    for n in range(200):
        body = b'{"beacon":{"api":"x","epoch":"f%d","heads":{}}}' % n
        standing.hub.receive([[b"pmessage", b"run:*", b"run:!beacon", body]])
        await asyncio.sleep(0)
    await eventually(lambda: not standing.hub.router.suspect, within=3)

    assert len(standing.past.asked) - asked <= 3
    assert (code(own), standing.hub.metrics.resets) == (0, 0)


async def test_reset_of_a_lone_replay(standing: Standing) -> None:
    """A socket that is alone on its feed, and being replayed to, is told of a reset and gets what follows."""
    standing.past.append("alice", 50)
    own, stream = Memory(), Memory()
    for transport, target in ((own, "/ws?username=alice&after=0"), (stream, "/sse?username=bob&after=0")):
        transport.waiting = replay.WAITING_MOST + 1
        standing.say(transport, target, "Sec-WebSocket-Protocol: runfeed.v1\r\n")
    standing.past.append("bob", 50)
    await eventually(lambda: len(standing.hub.replays) == 2)
    for username in ("alice", "bob"):
        standing.past.log[username] = standing.past.log[username][:10]
        standing.hub.reset(standing.hub.router.feeds[username], 10)
        standing.past.append(username, 3)
        standing.publish(11, 12, 13, username=username)

    assert b'"type":"reset"' in own.written
    assert ids(own) == [11, 12, 13]
    assert b"event: reset\n" in stream.written
    assert all(b"\nid: %d\n" % number in stream.written for number in (11, 12, 13))


async def test_retention_went_past_a_feed(standing: Standing) -> None:
    """A feed whose missing events history has not any more is reset: plain sockets are closed 4409."""
    own = await watching(standing)
    ours = await watching(standing, more="Sec-WebSocket-Protocol: runfeed.v1\r\n")
    feed = standing.hub.router.feeds["alice"]
    page = standing.past._page("alice", 0)
    page.error, page.head = "cursor_unknown", 70
    standing.hub.catch_up._apply(feed, 0, page, standing.hub.loop.time())

    assert code(own) == 4409
    assert b'"type":"reset"' in ours.written
    assert feed.last == 70
