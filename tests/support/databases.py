"""Databases of a test's own on a running PostgreSQL: made from a template in some ten milliseconds, dropped after."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import asyncpg


class PostgresServer(Protocol):
    """A running PostgreSQL in which we may make databases."""

    def url(self, database: str = ...) -> str:
        """The connection URL of one of its databases."""


class GivenPostgres:
    """The server that TEST_DATABASE_URL names; nothing in it is touched but databases that we made."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    def url(self, database: str = "") -> str:
        """The URL of a database of that server; without a name the one that was given."""
        path = f"/{database}" if database else self._parts.path
        return urlunsplit(self._parts._replace(path=path))


async def execute(server: PostgresServer, statement: str) -> None:
    """Run one statement on the server, outside of any transaction."""
    connection = await asyncpg.connect(server.url(), timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=10)


async def create(server: PostgresServer, template: str = "template0") -> str:
    """A new database, a copy of `template`; its name."""
    name = f"runfeed_test_{secrets.token_hex(6)}"
    await execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return name


async def drop(server: PostgresServer, name: str) -> None:
    """Drop a database, its connections first."""
    await execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@asynccontextmanager
async def database(server: PostgresServer, template: str = "template0") -> AsyncIterator[str]:
    """The URL of a new database, dropped at the end."""
    name = await create(server, template)
    try:
        yield server.url(name)
    finally:
        await drop(server, name)
