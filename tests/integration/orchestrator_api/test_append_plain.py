"""append_plain beside append_events: the short way stores the same, or nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from orchestrator_api import events, store
from orchestrator_api.groups import Append
from orchestrator_api.transaction import Plain, Stored, arguments, plain

NOW = 1697234568.5
TABLES = (
    "SELECT * FROM events ORDER BY username, id",
    "SELECT * FROM feeds ORDER BY username",
    "SELECT * FROM runs ORDER BY run_id",
)


@pytest.fixture
async def connection(migrated_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with users a and b, who have runs a1, a2 and b1, and a run b2 that is finished."""
    connection = await asyncpg.connect(migrated_database_url)
    await connection.execute("INSERT INTO feeds (username, last_id) VALUES ('a', 7), ('b', 0)")
    await connection.execute("""
        INSERT INTO runs (run_id, username, created_at, create_digest, status, last_seq, progress, updated_at) VALUES
        ('a1', 'a', 1, '', 'running', 7, 30, 1), ('a2', 'a', 1, '', 'queued', 0, NULL, 1),
        ('b1', 'b', 1, '', 'queued', 0, NULL, 1), ('b2', 'b', 1, '', 'completed', 0, 100, 1)""")
    yield connection
    await connection.close()


def append(username: str, run_id: str, *said: dict[str, Any]) -> Append:
    """An append whose tails are made."""
    taken = [events.event(each, run_id, username, NOW) for each in said]
    made = Append(run_id, username, taken, asyncio.get_running_loop().create_future())
    made.tails = [event.tail(NOW) for event in taken]
    return made


def group() -> list[Append]:
    """Appends of two users, of one run twice, with a batch, what changes a run, and a run's end."""
    return [
        append("b", "b1", {"type": "x"}, {"type": "steps_completed"}),
        append("a", "a2", {"type": "x", "progress": 10}, {"type": "y", "node_id": "n"}, {"type": "z", "progress": 20}),
        append("a", "a1", {"type": "x", "step_name": "s"}),
        append("a", "a2", {"type": "workflow_completed"}),
        append("b", "b1", {"type": "x", "text": "é"}),
    ]


async def call(connection: asyncpg.Connection, layout: Plain, known_epoch: str = "") -> Any:
    return await connection.fetchrow(store.QUERIES["append_plain"], NOW, known_epoch, *layout.arguments())


async def long_way(connection: asyncpg.Connection, asked: list[Append]) -> Any:
    return await connection.fetchrow(store.QUERIES["append"], None, NOW, *arguments(asked))


async def test_the_same_as_append_events(connection: asyncpg.Connection) -> None:
    """What it stores, and what it tells each caller, is what append_events stores and tells."""
    found = []
    for short in (True, False):
        transaction = connection.transaction()
        await transaction.start()
        asked = group()
        if short:
            layout = plain(asked)
            assert layout is not None
            row = await call(connection, layout)
            answers = {id(each): stored for each, stored in layout.stored(row)[0]}
        else:
            row = await long_way(connection, asked)
            numbers = iter(zip(row["ids"], row["seqs"], strict=True))
            answers = {
                id(each): Stored(each.run_id, status, [next(numbers) for _ in each.events], new=True)
                for each, status in zip(asked, row["statuses"], strict=True)
            }
        tables = [[tuple(each) for each in await connection.fetch(query)] for query in TABLES]
        found.append((tables, [answers[id(each)] for each in asked], row["epoch"]))
        await transaction.rollback()

    assert found[0] == found[1]


async def test_frames(connection: asyncpg.Connection) -> None:
    """Its frames come by id within each feed, and are what the history returns."""
    layout = plain(group())
    assert layout is not None
    _, frames, _ = layout.stored(await call(connection, layout))

    for username, last in (("a", 12), ("b", 3)):
        rows = await connection.fetch("SELECT id, seq, tail FROM events WHERE username = $1 ORDER BY id", username)
        assert [each[3] for each in frames if each[0] == username] == [
            events.frame(row["id"], row["seq"], row["tail"].encode()) for row in rows
        ]
        assert rows[-1]["id"] == last


@pytest.mark.parametrize(("username", "run_id"), [("b", "nothing"), ("nobody", "n1"), ("b", "a2"), ("b", "b2")])
async def test_a_feed_wholly_or_not_at_all(connection: asyncpg.Connection, username: str, run_id: str) -> None:
    """Of a feed with one append that cannot simply be stored nothing is, and the others are: append_events says why."""
    good, bad = append("a", "a1", {"type": "x"}), append(username, run_id, {"type": "x"})
    beside = append("b", "b1", {"type": "x"})
    layout = plain([bad, good, beside])
    assert layout is not None
    answers, frames, left = layout.stored(await call(connection, layout))

    assert [(each.run_id, answer.numbers) for each, answer in answers if each is good] == [("a1", [(8, 8)])]
    assert set(left) == ({beside, bad} if username == "b" else {bad})
    assert len(frames) == await connection.fetchval("SELECT count(*) FROM events") == 3 - len(left)
    assert await connection.fetchval("SELECT last_seq FROM runs WHERE run_id = 'b1'") == (username != "b")


@pytest.mark.parametrize("lock", ["feeds WHERE username = 'a'", "runs WHERE run_id = 'a1'"])
async def test_it_never_waits(connection: asyncpg.Connection, migrated_database_url: str, lock: str) -> None:
    """A feed, or one of its runs, that is locked elsewhere is left alone at once, and the others are stored."""
    stranger = await asyncpg.connect(migrated_database_url)
    async with stranger.transaction():
        await stranger.execute(f"SELECT FROM {lock} FOR UPDATE")
        locked = [append("a", "a1", {"type": "x"}), append("a", "a2", {"type": "x"})]
        layout = plain([*locked, append("b", "b1", {"type": "x"})])
        assert layout is not None
        async with asyncio.timeout(2):
            answers, _, left = layout.stored(await call(connection, layout))
        assert left == locked
        assert [answer.numbers for _, answer in answers] == [[(1, 1)]]
    await stranger.close()

    assert await connection.fetchval("SELECT count(*) FROM events") == 1


async def test_epoch_of_a_session(connection: asyncpg.Connection) -> None:
    """The epoch that a session knows is taken as long as the life is the same, and read anew after new-epoch."""
    layout = plain([append("a", "a1", {"type": "x"})])
    assert layout is not None
    known = await connection.fetchval("SELECT epoch()")
    kept = await call(connection, layout, known)
    await connection.execute(store.QUERIES["new_epoch"])
    renewed = await call(connection, layout, known)

    assert kept["epoch"] == known
    assert renewed["epoch"] == await connection.fetchval("SELECT epoch()") != known


async def test_what_is_not_plain(connection: asyncpg.Connection) -> None:
    """An append with a key of any kind goes the long way, and so does its group."""
    ordinary = append("a", "a1", {"type": "x"})
    keyed = append("a", "a2", {"type": "x"})
    keyed.key, keyed.scope, keyed.digest = "k", "run:a2", b""

    assert plain([ordinary]) is not None
    assert plain([ordinary, keyed]) is None
    assert plain([ordinary, append("a", "a2", {"type": "x", "event_id": "e"})]) is None
    assert plain([ordinary, append("b", "a1", {"type": "x"})]) is None, "one run of two users"
