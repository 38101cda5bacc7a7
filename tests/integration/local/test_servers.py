"""deploy.local's servers: they start, answer, survive a restart, and can be hurt as the fault tests need."""

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from deploy.local import place
from deploy.local.binaries import find_postgres, find_redis
from deploy.local.errors import LocalError
from deploy.local.place import DataDirectory
from deploy.local.postgres import Postgres, running_url
from deploy.local.valkey import answers
from tests.support.databases import PostgresServer
from tests.support.servers import OwnPostgres, OwnRedis, alive


async def test_durable_settings(postgres: PostgresServer) -> None:
    """The session's PostgreSQL promises as much as one in production."""
    connection = await asyncpg.connect(postgres.url())
    try:
        settings = await connection.fetch(
            "SELECT setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
        )
    finally:
        await connection.close()

    assert [row["setting"] for row in settings] == ["on", "on", "on"]


async def test_database_url_is_empty(database_url: str) -> None:
    """database_url is a database of its own, with no table in it."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()

    assert tables == 0


async def test_postgres_restarts_where_it_was(postgres_server: OwnPostgres) -> None:
    """A PostgreSQL that was killed comes back on its port with what was committed."""
    connection = await asyncpg.connect(postgres_server.url())
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    url = postgres_server.url()

    postgres_server.kill()
    with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
        await asyncpg.connect(url)
    connection.terminate()
    postgres_server.start()
    again = await asyncpg.connect(url)
    try:
        kept = await again.fetchval("SELECT one FROM kept")
    finally:
        await again.close()

    assert kept == 1


async def test_frozen_postgres(postgres_server: OwnPostgres) -> None:
    """A frozen PostgreSQL answers nothing, thawed it answers; frozen it can still be stopped."""
    connection = await asyncpg.connect(postgres_server.url())
    try:
        postgres_server.freeze()
        with pytest.raises(TimeoutError):
            await asyncpg.connect(postgres_server.url(), timeout=0.3)
        postgres_server.thaw()
        assert await connection.fetchval("SELECT 1") == 1
        postgres_server.freeze()
    finally:
        connection.terminate()
    process = postgres_server.process
    postgres_server.stop()

    assert process is not None
    assert not alive(process.pid)


def test_redis_faults(redis_server: OwnRedis) -> None:
    """A Redis answers, is killed, comes back on its port with its password, freezes and thaws."""
    password = redis_server.url.split(":")[2].split("@")[0]

    assert answers(redis_server.port, password)
    assert not answers(redis_server.port, "wrong")
    redis_server.kill()
    assert not answers(redis_server.port, password)
    redis_server.start()
    assert answers(redis_server.port, password)
    redis_server.freeze()
    assert not answers(redis_server.port, password)
    redis_server.thaw()
    assert answers(redis_server.port, password)


def test_secrets_are_ours_alone(data_directories: Callable[[str], DataDirectory]) -> None:
    """Passwords are in files that nobody else can read, and on no command line."""
    directory = data_directories("secrets")
    with Postgres(directory, find_postgres(os.environ)) as server:
        password = directory.postgres_password.read_text()
        assert server.process is not None
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()

    assert stat.S_IMODE(directory.postgres_password.stat().st_mode) == 0o600
    assert password.encode() not in command


def test_left_over_servers(data_directories: Callable[[str], DataDirectory]) -> None:
    """A server that a killed launcher left behind is stopped by the next start on its data."""
    directory = data_directories("left-over")
    first = OwnPostgres(directory, find_postgres(os.environ))
    first.start()
    assert first.process is not None
    redis = OwnRedis(directory, find_redis(os.environ))
    redis.start()
    assert redis.process is not None

    with Postgres(directory, find_postgres(os.environ)), OwnRedis(directory, find_redis(os.environ)):
        first.process.wait(5)
        redis.process.wait(5)


def test_other_major_is_refused(data_directories: Callable[[str], DataDirectory]) -> None:
    """Data of another PostgreSQL major are refused with the path to remove, and left alone."""
    directory = data_directories("major")
    server = Postgres(directory, find_postgres(os.environ))
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("9\n")

    with pytest.raises(LocalError, match=f"{server.data} was made by PostgreSQL 9, .*remove {server.data}"):
        server.start()


def test_password_is_gone(data_directories: Callable[[str], DataDirectory]) -> None:
    """Data whose password is gone are refused with the path to remove."""
    directory = data_directories("password")
    server = Postgres(directory, find_postgres(os.environ))
    server.start()
    server.stop()
    directory.postgres_password.unlink()

    with pytest.raises(LocalError, match=f"password is gone; remove {directory.postgres_directory}"):
        server.start()


def test_second_on_the_same_data(data_directories: Callable[[str], DataDirectory]) -> None:
    """A data directory that is taken is refused with the process that has it and the name to change."""
    directory = data_directories("twice")
    directory.create()
    directory.lock()

    with pytest.raises(LocalError, match=f"process {os.getpid()}.*RUNFEED_DATA"):
        DataDirectory(directory.path).lock()
    directory.unlock()
    DataDirectory(directory.path).lock()


def test_running_url(data_directories: Callable[[str], DataDirectory]) -> None:
    """What runs on a data directory can be found from outside, and nothing is found when nothing runs."""
    directory = data_directories("psql")
    server = Postgres(directory, find_postgres(os.environ))

    assert running_url(directory) is None
    with server:
        assert running_url(directory) == server.url()
    assert running_url(directory) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to another account")
def test_closed_checkout(data_directories: Callable[[str], DataDirectory], monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's PostgreSQL runs from a checkout that is closed to others, whatever the umask; old copies are deleted."""
    umask = os.umask(0o077)
    monkeypatch.setattr("deploy.local.place.reachable", lambda _: False)
    old = place.open_directory() / "tree-old"
    old.mkdir()
    directory = data_directories("closed")
    try:
        with Postgres(directory, find_postgres(os.environ)) as server:
            home = server.data
            owner = Path(f"/proc/{server.running.pid}").stat().st_uid
    finally:
        os.umask(umask)
        directory.remove()
        for tree in place.open_directory().glob("tree-*"):
            shutil.rmtree(tree)
        with contextlib.suppress(OSError):
            place.open_directory().rmdir()  # unless this checkout is a closed one

    assert owner != 0
    assert place.OPEN_PARENT in home.parents
    assert not home.exists()
    assert not old.exists()
