"""PostgreSQL: named queries, connections that keep its promises, and what must be true of them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import Any

import asyncpg

from orchestrator_api.errors import Unavailable

READERS = 8  # connections: short statements only, and PostgreSQL's cores are the limit, not ours
ACQUIRE_S = 2.0  # seconds to wait for a reading connection, then 503: a caller retries better than it queues
RELEASE_S = 1.0  # seconds for the statement of a caller that went away to be cancelled
STATEMENT_S = 5.0  # seconds: no statement of ours takes longer unless something is wrong

SESSION = {
    "application_name": "orchestrator_api",
    "statement_timeout": "5000",  # ms, STATEMENT_S on the server's side
    "lock_timeout": "1000",  # ms: a lock that takes longer is somebody's mistake, and the append is tried again
    "idle_in_transaction_session_timeout": "10000",  # ms: frees the locks of a process that was stopped
    "jit": "off",  # compiling costs more than any of our statements
}

WANTED = {
    "transaction_isolation": "read committed",
    "synchronous_commit": ("on", "remote_write", "remote_apply", "local"),
    "fsync": "on",
    "full_page_writes": "on",
    "in_recovery": False,
}

# The connection has ended or is of no use, and its last statement's outcome is unknown. InterfaceError: it was closed
# under us. InternalClientError: what asyncpg says of a session that was terminated while it was idle.
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

# What PostgreSQL's being away looks like from a client.
AWAY: tuple[type[Exception], ...] = (
    *BROKEN,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
)


def _load_queries() -> dict[str, str]:
    text = resources.files("orchestrator_api").joinpath("sql/queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {
        name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


QUERIES = _load_queries()


def wrong_settings(session: asyncpg.Record) -> list[str]:
    """Returns, in words, each setting under which "committed" would not mean stored. session: that query's row."""
    wrong = []
    for name, wanted in WANTED.items():
        value = session[name]
        if value != wanted and not (isinstance(wanted, tuple) and value in wanted):
            wrong.append(f"{name} is {str(value).lower()}")
    return wrong


async def connect(url: str) -> asyncpg.Connection:
    """Opens one connection with our session's settings. Raises one of AWAY."""
    return await asyncpg.connect(url, timeout=3, command_timeout=STATEMENT_S + 1, server_settings=SESSION)


async def _no_reset(_: Any) -> None:
    """We never change a session's state, so the pool's resetting round trip buys nothing."""


def _terminate(connection: Any) -> None:
    with suppress(asyncpg.InterfaceError):  # it broke, and the pool has taken it back already
        connection.terminate()


class Reader:
    """A pool of connections for short reading statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def _open(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=READERS,
                    timeout=3,
                    command_timeout=STATEMENT_S + 1,
                    server_settings=SESSION,
                    reset=_no_reset,
                )
            return self._pool

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        try:
            pool = self._pool or await self._open()
            connection = await pool.acquire(timeout=ACQUIRE_S)
        except AWAY as error:
            raise Unavailable("store_away", "the database cannot be reached; nothing was lost, try again") from error
        try:
            yield connection
        except AWAY as error:
            _terminate(connection)  # what it is at may never end, and the pool makes another
            raise Unavailable("store_away", "the database went away; nothing was lost, try again") from error
        finally:
            try:
                await pool.release(connection, timeout=RELEASE_S)
            except AWAY:
                _terminate(connection)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """Runs a named query. Returns its rows; raises Unavailable."""
        async with self._connection() as connection:
            rows: list[Any] = await connection.fetch(QUERIES[query], *args)
            return rows

    async def one(self, query: str, *args: Any) -> Any:
        """Runs a named query. Returns its first row, or None; raises Unavailable."""
        async with self._connection() as connection:
            return await connection.fetchrow(QUERIES[query], *args)

    async def close(self) -> None:
        """Closes the pool; what still runs gets two seconds."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(2):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()
