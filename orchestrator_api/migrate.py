"""Numbered SQL files (dbmate's format), applied in order under a lock, each in one transaction.

A file that was applied and has changed since is refused: what runs in production must be what is in the tree.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

import asyncpg

from orchestrator_api.errors import StartError

LOCK = 7_205_759_403  # any constant of our own: two `migrate` at once take turns
LOCK_TIMEOUT = "3s"  # a migration that waits longer for a table would stop everybody behind it

LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version text PRIMARY KEY, sha256 bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its version (the number before its name), its upward SQL, and the hash of the whole."""

    version: str
    name: str
    up: str
    sha256: bytes


def load() -> list[Migration]:
    """Returns the migrations of this release, in order."""
    found = [
        parse(match[1], file.name, file.read_text("utf-8"))
        for file in resources.files("orchestrator_api").joinpath("sql").iterdir()
        if (match := re.fullmatch(r"(\d{14})_\w+\.sql", file.name))
    ]
    return sorted(found, key=lambda migration: migration.version)


def parse(version: str, name: str, text: str) -> Migration:
    """Cuts the upward part out of a file. Raises ValueError when its markers are missing."""
    match = re.fullmatch(r"\s*-- migrate:up\n(.*)\n-- migrate:down\n(.*)", text, re.DOTALL)
    if match is None:
        raise ValueError(f"{name}: needs '-- migrate:up' on top and '-- migrate:down' after it")
    return Migration(version, name, match[1], hashlib.sha256(text.encode()).digest())


def pending(applied: dict[str, bytes], migrations: list[Migration]) -> list[Migration]:
    """Returns what is left to apply. Raises StartError when an applied file has changed, or a new one is older."""
    for migration in migrations:
        if migration.version in applied and applied[migration.version] != migration.sha256:
            raise StartError(
                f"migration {migration.name} was applied and has changed since: restore the file, add a new one"
            )
    left = [migration for migration in migrations if migration.version not in applied]
    if left and applied and left[0].version < max(applied):
        raise StartError(
            f"migration {left[0].name} is older than what was applied last ({max(applied)}): give it a new number"
        )
    return left


async def migrate(database_url: str, migrations: list[Migration] | None = None) -> list[str]:
    """Applies what is missing. Returns the names of the files applied; raises StartError or what asyncpg raises."""
    connection = await asyncpg.connect(database_url, timeout=5, server_settings={"application_name": "migrate"})
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(LEDGER)
        left = pending(await _applied(connection), load() if migrations is None else migrations)
        for migration in left:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(migration.up)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, sha256) VALUES ($1, $2)",
                    migration.version,
                    migration.sha256,
                )
        return [migration.name for migration in left]
    finally:
        await connection.close()


async def _applied(connection: asyncpg.Connection) -> dict[str, bytes]:
    rows = await connection.fetch("SELECT version, sha256 FROM schema_migrations")
    return {row["version"]: row["sha256"] for row in rows}


async def behind(connection: asyncpg.Connection) -> list[str]:
    """Returns, in words, why this database does not have this release's schema; nothing when it has."""
    if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        return ["no schema: run `python -m orchestrator_api migrate`"]
    try:
        left = pending(await _applied(connection), load())
    except StartError as error:
        return [str(error)]
    return [f"migration {migration.name} is not applied" for migration in left]
