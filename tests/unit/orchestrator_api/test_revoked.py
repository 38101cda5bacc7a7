"""orchestrator_api/revoked.py: what is kept of the revocations, and for how long. The database is a list here."""

from typing import Any, cast

import pytest

from orchestrator_api import revoked
from orchestrator_api.errors import Unavailable
from orchestrator_api.revoked import AFRESH_S, Revoked
from orchestrator_api.store import Reader
from orchestrator_api.tokens import Principal


class Database:
    """What the query answers: `rows` of (number, token id), in one epoch. away: it does not, after so many more."""

    def __init__(self) -> None:
        self.epoch = "one"
        self.rows: list[tuple[int, str]] = []
        self.asked: list[int] = []
        self.away: int | None = None
        self.now = 1000.0

    async def fetch(self, query: str, after: int, most: int) -> list[dict[str, Any]]:
        """The rows after a number, and one without a number when there is none."""
        if self.away is not None:
            self.away -= 1
            if self.away < 0:
                raise Unavailable("store_away", "away")
        self.asked.append(after)
        found: list[tuple[Any, Any]] = [(number, token_id) for number, token_id in self.rows if number > after]
        return [
            {"epoch": self.epoch, "number": number, "username": None, "token_id": token_id}
            for number, token_id in found[:most] or [(None, None)]
        ]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database, which is read two rows at a time."""
    monkeypatch.setattr(revoked, "PAGE", 2)
    return Database()


def reading(database: Database) -> Revoked:
    """What reads it."""
    found = Revoked(cast(Reader, database), lambda: database.now)
    found.ready = True
    return found


def refused(known: Revoked, *token_ids: str) -> list[str]:
    """Those of the tokens that hold no longer."""
    principals = [Principal("alice", None, 0.0, 1.0, token_id, "runfeed") for token_id in token_ids]
    return [str(each.token_id) for each in principals if known.revoked(each)]


async def test_what_is_new(database: Database) -> None:
    """Each reading takes in what is new, page by page, and asks after what it has."""
    known = reading(database)
    database.rows = [(1, "a"), (2, "b"), (5, "c")]
    await known.read()
    assert refused(known, "a", "b", "c", "d") == ["a", "b", "c"]
    database.asked.clear()
    database.rows.append((6, "d"))
    await known.read()

    assert refused(known, "d") == ["d"]
    assert (database.asked, known.count) == ([5], 4)


async def test_read_afresh(database: Database) -> None:
    """Once a day all is read, and what the database has forgotten is forgotten: else the memory grows for ever."""
    known = reading(database)
    database.rows = [(1, "a"), (2, "b"), (3, "c")]
    await known.read()
    database.rows = [(2, "b"), (3, "c"), (4, "d")]
    database.now += AFRESH_S - 1
    await known.read()
    assert (refused(known, "a", "b", "c", "d"), known.count) == (["a", "b", "c", "d"], 4)
    database.now += 1
    database.away = 1
    with pytest.raises(Unavailable):
        await known.read()
    assert refused(known, "a", "b", "c", "d") == ["a", "b", "c", "d"], "half a list takes the place of none"
    database.away = None
    await known.read()

    assert (refused(known, "a", "b", "c", "d"), known.count) == (["b", "c", "d"], 3)
    database.asked.clear()
    await known.read()
    assert database.asked == [4]


async def test_another_epoch(database: Database) -> None:
    """In another numbering all is read from its beginning, also when that fails once; what was known stays a day."""
    known = reading(database)
    database.rows = [(7, "a")]
    await known.read()
    database.epoch, database.rows, database.now = "two", [(1, "b"), (2, "c"), (3, "d")], database.now + AFRESH_S - 1
    database.away = 1
    with pytest.raises(Unavailable):
        await known.read()
    database.away = None
    await known.read()
    assert refused(known, "a", "b", "c", "d") == ["a", "b", "c", "d"]
    database.now += AFRESH_S - 1
    await known.read()
    assert refused(known, "a") == ["a"]
    database.now += 1
    await known.read()

    assert refused(known, "a", "b", "c", "d") == ["b", "c", "d"]
