"""python -m orchestrator_api as a process: readiness, settings, ports, TERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from orchestrator_api.settings import Settings
from tests.integration.orchestrator_api.conftest import Api, served
from tests.support.processes import clean_environ, free_ports, procfile_command, ready_or_say_why
from tests.support.waiting import eventually


async def command(*words: str, **environ: str) -> tuple[int, str]:
    """Runs a command of the service to its end: its exit status, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator_api", *words,
        env=clean_environ(**environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_bad_setting() -> None:
    """A bad setting is one line that names it, and exit status 2."""
    status, said = await command(DATABASE_URL="postgresql://h/d", API_PORT="http")

    assert (status, said) == (
        2,
        "orchestrator_api: API_PORT must be a port, 0 to 65535 (0: any free one), not 'http'\n",
    )


async def test_port_in_use(migrated_database_url: str, api: Api) -> None:
    """A port in use is one line that names the variable to change, and exit status 1."""
    ports = {"API_PORT": str(api.service.port), "API_ADMIN_PORT": "0"}
    status, said = await command(DATABASE_URL=migrated_database_url, LOG_LEVEL="error", **ports)

    assert status == 1
    assert said == (
        f"orchestrator_api: port {api.service.port} is in use: set API_PORT to another,"
        " or API_REUSE_PORT=1 in all that are to share it (of one user)\n"
    )


async def test_shared_by_all_or_none(migrated_database_url: str, api: Api) -> None:
    """A port whose holder does not share it is refused to one that would, in the same line."""
    ports = {"API_PORT": str(api.service.port), "API_ADMIN_PORT": "0", "API_REUSE_PORT": "1"}
    status, said = await command(DATABASE_URL=migrated_database_url, LOG_LEVEL="error", **ports)

    assert status == 1
    assert said.startswith(f"orchestrator_api: port {api.service.port} is in use: set API_PORT to another, or API_REU")


async def test_commands(database_url: str) -> None:
    """migrate applies the schema and says so; check-config shows the settings without passwords; new-epoch renews."""
    status, said = await command("migrate", DATABASE_URL=database_url)
    assert status == 0
    assert said.startswith("applied 20261122000001")
    assert await command("migrate", DATABASE_URL=database_url) == (0, "the schema is current\n")
    status, said = await command("check-config", DATABASE_URL="postgresql://u:p/secret@h/d", AUTH_HMAC_KEY="secret" * 6)
    assert (status, "secret" in said, "DATABASE_URL = postgresql://***@h/d" in said) == (0, False, True)
    assert "AUTH_HMAC_KEY = ***\n" in said
    assert "WATCH_TOKEN_KEY = made from AUTH_HMAC_KEY (default)\n" in said
    assert "API_PORT = 8081 (default)\n" in said
    assert "PAGE = off (default)\n" in said
    assert said.endswith("who asks: tokens of runfeed (HS256), watch tokens, API keys\n")
    status, said = await command("check-config", DATABASE_URL="postgresql://h/d", PORT="9000")
    assert "API_PORT = 9000\n" in said
    assert "PAGE = on (default)\n" in said
    assert said.endswith("who asks: nobody, usernames are believed on loopback\n")
    first, second = (
        await command("new-epoch", DATABASE_URL=database_url),
        await command("new-epoch", DATABASE_URL=database_url),
    )
    assert (first[0], second[0]) == (0, 0)
    assert first[1] != second[1]


async def test_database_away() -> None:
    """migrate without a database is one line, and exit status 1."""
    status, said = await command("migrate", DATABASE_URL="postgresql://u:secret@127.0.0.1:1/d")

    assert status == 1
    assert said.count("\n") == 1
    assert "secret" not in said


async def test_not_ready_without_a_schema(database_url: str, redis_url: str) -> None:
    """Without its schema the service lives and is not ready, and says which migration is missing."""
    environ = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    async with served(Settings.from_env(environ)) as api:
        status, body = await api.get("/readyz")

    assert (status, body["status"]) == (503, "not ready")
    assert body["problems"] == ["no schema: run `python -m orchestrator_api migrate`"]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SET synchronous_commit = off", "synchronous_commit is off"),
        ("SET default_transaction_isolation = serializable", "transaction_isolation is serializable"),
    ],
)
async def test_not_ready_with_wrong_settings(
    migrated_database_url: str, redis_url: str, statement: str, named: str
) -> None:
    """Under a setting with which "committed" does not mean stored, the service is not ready and names it."""
    connection = await asyncpg.connect(migrated_database_url)
    database = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {database} {statement}")
    await connection.close()
    environ = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_url, "API_PORT": "0", "API_ADMIN_PORT": "0"}
    async with served(Settings.from_env(environ), problems=True) as api:
        status, body = await api.get("/readyz")

    assert status == 503
    assert named in body["problems"]


async def test_term(migrated_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """On TERM appends under way are answered, the process ends with status 0, and what was acknowledged is there."""
    environ = clean_environ(**free_ports(), DATABASE_URL=migrated_database_url, REDIS_URL=redis_url)
    url = f"http://127.0.0.1:{environ['API_PORT']}"
    with procfile_command("api", environ, tmp_path / "log") as api:
        ready_or_say_why(api, environ["API_ADMIN_PORT"])
        async with aiohttp.ClientSession() as session:
            await session.post(f"{url}/runs", json={"username": "alice", "run_id": "term"})

            async def write() -> int:
                stored = 0
                while True:
                    try:
                        async with session.post(f"{url}/runs/term/events", json={"type": "a"}) as response:
                            if response.status != 201:
                                return stored
                            stored += 1
                    except aiohttp.ClientError:
                        return stored

            writers = [asyncio.create_task(write()) for _ in range(8)]
            connection = await asyncpg.connect(migrated_database_url)
            await eventually(lambda: connection.fetchval("SELECT count(*) > 50 FROM events"))
            os.kill(api.process.pid, signal.SIGTERM)
            acknowledged = sum(await asyncio.gather(*writers))
        status = await asyncio.to_thread(api.process.wait, 15)
        stored = await connection.fetchval("SELECT count(*) FROM events")
        await connection.close()

    assert status == 0
    assert acknowledged == stored > 50
