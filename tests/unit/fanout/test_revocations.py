"""fanout.revocations: the list of what was revoked."""

import asyncio

import pytest

from fanout import revocations
from fanout.errors import HistoryAway
from fanout.history import Revocation, RevocationPage
from fanout.revocations import AFRESH, STALE, RevocationList
from fanout.tokens import Principal
from tests.support import eventually
from tests.unit.fanout.pasts import Past


class Listed:
    """A list, its history, and a clock that is told the time."""

    def __init__(self) -> None:
        self.past = Past()
        self.now = 1000.0
        self.news = 0
        self.list = RevocationList(self.past, self.heard, lambda: self.now)

    def heard(self) -> None:
        """Something was revoked."""
        self.news += 1

    def holds(self, username: str = "alice", issued_at: float = 5.0, token_id: str | None = None) -> bool:
        """Whether such a token is revoked."""
        return bool(self.list.revoked(Principal(username, None, 9e9, issued_at, token_id, "runfeed")))

    def asked(self) -> list[object]:
        """The numbers that were asked behind, and forgets them."""
        found = [what for call, what in self.past.asked if call == "revocations"]
        self.past.asked.clear()
        return found


@pytest.fixture
async def listed() -> Listed:
    """A list that was not read."""
    return Listed()


async def test_only_what_is_new(listed: Listed) -> None:
    """After the first reading what is new is asked for, and whoever wants to know is told when there is something."""
    assert listed.list.state == "unknown"
    listed.past.revoked.append(Revocation(username="alice", before=5.0))
    await listed.list.read()
    assert (listed.holds(), listed.holds(issued_at=6.0), listed.list.state, listed.news) == (True, False, "live", 1)
    listed.past.revoked += [Revocation(username="alice", before=7.0), Revocation(token_id="j")]
    await listed.list.read()
    assert (listed.holds(issued_at=6.0), listed.holds("bob", token_id="j"), listed.news) == (True, True, 2)
    await listed.list.read()

    assert (listed.asked(), listed.news, listed.list.count) == ([0, 1, 3], 2, 3)


async def test_pages(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list is read to its end before anybody is told."""
    monkeypatch.setattr(revocations, "PAGE", 2)
    monkeypatch.setattr("tests.unit.fanout.pasts.PAGE", 2)
    listed.past.revoked += [Revocation(token_id=str(n)) for n in range(5)]
    await listed.list.read()

    assert (listed.asked(), listed.news, listed.holds(token_id="4")) == ([0, 2, 4], 1, True)


async def test_another_epoch(listed: Listed) -> None:
    """Numbers of another life of the database are read from the beginning; what it does not hold is revoked as before.

    A copy of yesterday that was put back does not know what was revoked today.
    """
    listed.past.revoked += [Revocation(username="alice", before=5.0), Revocation(token_id="j")]
    await listed.list.read()
    listed.past.revoked_epoch = "r2"
    listed.past.revoked = [Revocation(username="bob", before=5.0)]
    await listed.list.read()

    assert (listed.holds(), listed.holds("carol", token_id="j"), listed.holds("bob")) == (True, True, True)
    assert listed.asked() == [0, 2, 0]
    assert (listed.news, listed.list.count) == (2, 3)
    await listed.list.read()
    assert (listed.asked(), listed.news) == ([1], 2)


async def test_another_epoch_after_a_day(listed: Listed) -> None:
    """Where the list was to be made anew just then, what was known holds for another day."""
    listed.past.revoked.append(Revocation(username="alice", before=5.0))
    await listed.list.read()
    listed.past.revoked_epoch, listed.past.revoked = "r2", []
    listed.now += AFRESH + 1
    await listed.list.read()
    assert (listed.asked(), listed.holds()) == ([0, 0, 0], True)
    listed.now += AFRESH - 1
    await listed.list.read()
    assert listed.holds()
    listed.now += 2
    await listed.list.read()

    assert not listed.holds()


async def test_another_epoch_at_first(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first reading that is met by another epoch keeps what it has read by then, and begins again."""
    monkeypatch.setattr(revocations, "PAGE", 1)
    monkeypatch.setattr("tests.unit.fanout.pasts.PAGE", 1)
    listed.past.revoked += [Revocation(token_id="a"), Revocation(token_id="b")]
    answers = listed.past.revocations

    async def renumbered(after: int) -> RevocationPage:
        if after == 1:
            listed.past.revoked_epoch, listed.past.revoked = "r2", [Revocation(token_id="c")]
        return await answers(after)

    monkeypatch.setattr(listed.past, "revocations", renumbered)
    await listed.list.read()

    assert [listed.holds("x", token_id=each) for each in "abc"] == [True, False, True]


async def test_away(listed: Listed) -> None:
    """While history is away what is known holds, and after ten seconds it is called old."""
    listed.past.revoked.append(Revocation(username="alice", before=5.0))
    await listed.list.read()
    listed.past.away = True
    for later, state in ((STALE, "live"), (STALE + 1, "old")):
        listed.now = 1000.0 + later
        with pytest.raises(HistoryAway):
            await listed.list.read()
        assert (listed.holds(), listed.list.state) == (True, state)
    listed.past.away = False
    await listed.list.read()

    assert listed.list.state == "live"


async def test_refused(listed: Listed) -> None:
    """When the API does not take the hub's key nobody knows what was revoked: that is said, and what is known holds."""
    listed.past.revoked.append(Revocation(username="alice", before=5.0))
    await listed.list.read()
    listed.past.refused = True

    assert (listed.holds(), listed.list.state) == (True, "refused")


async def test_once_a_day(listed: Listed) -> None:
    """Once a day the list is made anew: what history has forgotten since is forgotten here."""
    listed.past.revoked.append(Revocation(token_id="old"))
    await listed.list.read()
    listed.past.revoked = []
    listed.now += AFRESH + 1
    await listed.list.read()

    assert (listed.asked(), listed.holds(token_id="old"), listed.list.count) == ([0, 0], False, 0)


async def test_without_history() -> None:
    """Without a history nothing is ever revoked, and nothing is waited for."""
    none = RevocationList(None, lambda: None, lambda: 0.0)
    await none.read()

    assert none.state == "none"


async def test_watch(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again and again, whatever was answered."""
    monkeypatch.setattr(revocations, "POLL", 0.001)
    listed.past.away = True
    watching = asyncio.create_task(listed.list.watch())
    await eventually(lambda: len(listed.past.asked) > 2)
    listed.past.away = False
    await eventually(lambda: listed.list.state == "live")
    watching.cancel()
