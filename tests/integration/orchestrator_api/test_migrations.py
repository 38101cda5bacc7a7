"""Migrations on real databases: empty ones, and the one before with rows in it."""

import asyncio
import re
from importlib import resources

import asyncpg
import pytest

from orchestrator_api import migrate, store
from orchestrator_api.errors import StartError
from orchestrator_api.migrate import Migration

# Rows as they stood in a database of each version, before the next migration came.
ROWS = {
    "20261122000001": """
        INSERT INTO feeds (username, last_id, updated_at) VALUES ('alice', 2, 1), ('bob', 0, 0);
        INSERT INTO runs (run_id, username, created_at, create_digest, status, last_seq, updated_at)
        VALUES ('r1', 'alice', 1, '\\x00', 'running', 2, 1), ('r2', 'bob', 1, '\\x00', 'queued', 0, 1);
        INSERT INTO events (username, id, run_id, seq, tail)
        VALUES ('alice', 1, 'r1', 1, '"type":"a"}'), ('alice', 2, 'r1', 2, '"type":"b"}');
        INSERT INTO keys (scope, kind, key, digest, run_id, first_id, first_seq)
        VALUES ('run:r1', 'e', 'k', '\\x00', 'r1', 2, 2)""",
}
ROWS["20261122000003"] = ROWS["20261122000002"] = ROWS["20261122000001"]  # no table changed
VERSIONS = [migration.version for migration in migrate.load()]


async def tables(url: str) -> dict[str, int]:
    """How many rows each of our tables has."""
    connection = await asyncpg.connect(url)
    try:
        return {
            name: await connection.fetchval(f"SELECT count(*) FROM {name}")
            for name in ("feeds", "runs", "events", "keys", "epochs")
        }
    finally:
        await connection.close()


async def test_empty_database(database_url: str) -> None:
    """On an empty database all files are applied once, in order, and a second time there is nothing to do."""
    assert await migrate.migrate(database_url) == [migration.name for migration in migrate.load()]
    assert await migrate.migrate(database_url) == []
    assert await tables(database_url) == {"feeds": 0, "runs": 0, "events": 0, "keys": 0, "epochs": 1}


@pytest.mark.parametrize("before", VERSIONS[:-1])
async def test_database_with_rows(database_url: str, before: str) -> None:
    """A database of each version, with rows in it, is brought to this release without losing one."""
    await migrate.migrate(database_url, [each for each in migrate.load() if each.version <= before])
    connection = await asyncpg.connect(database_url)
    await connection.execute(ROWS[before])
    kept = await tables(database_url)
    await migrate.migrate(database_url)

    assert kept == await tables(database_url)
    assert await migrate.behind(connection) == []
    await connection.close()


async def test_two_at_once(database_url: str) -> None:
    """Two processes that migrate at once take turns: each file is applied by one of them."""
    first, second = await asyncio.gather(migrate.migrate(database_url), migrate.migrate(database_url))

    assert sorted(first + second) == [migration.name for migration in migrate.load()]


async def test_changed_file_is_refused(database_url: str) -> None:
    """A file that was applied and has changed since is refused, and nothing is applied after it."""
    await migrate.migrate(database_url)
    changed = [Migration(each.version, each.name, each.up, b"other") for each in migrate.load()]
    new = migrate.parse(
        "29990101000000", "29990101000000_x.sql", "-- migrate:up\nCREATE TABLE x ();\n-- migrate:down\n"
    )
    with pytest.raises(StartError, match="has changed since"):
        await migrate.migrate(database_url, [*changed, new])

    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT to_regclass('x')") is None
    await connection.close()


async def test_failing_file_leaves_nothing(database_url: str) -> None:
    """A file that fails half-way is rolled back whole, and can be applied when it is mended."""
    text = "-- migrate:up\nCREATE TABLE half ();\n{}\n-- migrate:down\n"
    bad = migrate.parse("1", "1_half.sql", text.format("SELECT 1/0;"))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(database_url, [bad])

    mended = migrate.parse("1", "1_half.sql", text.format(""))
    assert await migrate.migrate(database_url, [mended]) == ["1_half.sql"]


async def test_down(database_url: str) -> None:
    """The downward parts, in reverse, leave nothing behind, and the upward ones can be applied again."""
    await migrate.migrate(database_url)
    connection = await asyncpg.connect(database_url)
    for migration in reversed(migrate.load()):
        text = resources.files("orchestrator_api").joinpath("sql", migration.name).read_text("utf-8")
        await connection.execute(re.split(r"^-- migrate:down$", text, flags=re.MULTILINE)[1])
    await connection.execute("DROP TABLE schema_migrations")
    left = await connection.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    await connection.close()

    assert left == 0
    assert len(await migrate.migrate(database_url)) == len(VERSIONS)


async def test_behind(database_url: str) -> None:
    """Readiness says what is missing, by name."""
    connection = await asyncpg.connect(database_url)
    assert await migrate.behind(connection) == ["no schema: run `python -m orchestrator_api migrate`"]
    await migrate.migrate(database_url, migrate.load()[:1])
    missing = [f"migration {migration.name} is not applied" for migration in migrate.load()[1:]]
    assert await migrate.behind(connection) == missing
    await connection.close()


async def test_epoch(migrated_database_url: str, database_url: str) -> None:
    """An epoch is one for a database's life, another in every other database, and an operator can renew it."""
    await migrate.migrate(database_url)
    here, there = await asyncpg.connect(migrated_database_url), await asyncpg.connect(database_url)
    first, same = await here.fetchval("SELECT epoch()"), await here.fetchval("SELECT epoch()")
    other = await there.fetchval("SELECT epoch()")
    await here.execute(store.QUERIES["new_epoch"])
    renewed = await here.fetchval(store.QUERIES["epoch"])
    await here.close()
    await there.close()

    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{8}", first)
    assert first == same
    assert first[-8:] != other[-8:]
    assert renewed[-8:] != first[-8:], "the ETag's part must change as well"
