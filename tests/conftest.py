"""Fixtures of all tests: real servers, cheap.

postgres               the session's PostgreSQL; `.url(database)`. TEST_DATABASE_URL, else one of our own, its settings
                       as they are in production (fsync and all: the API's readiness looks at them)
database_url           a new, empty database in it
migrated_database_url  a new database with the API's schema in it (a copy of one that was migrated once)
modules_database_url   one of these that all tests of a module share
redis_url              the session's Redis or Valkey: TEST_REDIS_URL, else one of our own. Shared: use names of your own
postgres_server        a PostgreSQL of the test's own, to stop, kill and freeze: tests/support/servers.py
redis_server           a Redis or Valkey of the test's own, the same
free_port              a function: a TCP port of 127.0.0.1 that nobody listens on

And whatever the test: no secret may be printed, tests/support/secrets.py.

Nothing but the standard library and pytest is imported before a fixture needs it: fanout's unit tests also run where
asyncpg is not installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.answers import VARIABLE, Findings
from tests.support.no_secrets import no_secret_is_shown, pytest_runtest_makereport
from tests.support.secrets import password_of

if TYPE_CHECKING:
    from deploy.local.place import DataDirectory
    from tests.support.databases import PostgresServer
    from tests.support.servers import OwnPostgres, OwnRedis

CHECKOUT = Path(__file__).resolve().parents[1]
__all__ = ["no_secret_is_shown", "pytest_runtest_makereport"]
MANY_CONNECTIONS = {"max_connections": "300"}  # tests open pools of several processes at once


OF_THE_API = CHECKOUT / "tests/integration/orchestrator_api"


class Answers:
    """The check of the API's answers, from the session's side. Only in the process that the others were started by."""

    def __init__(self, config: pytest.Config) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="runfeed-answers-")
        os.environ[VARIABLE] = self._directory.name
        everything = not config.option.keyword and not config.option.collectonly
        self._wanted = everything and any(OF_THE_API.is_relative_to(Path(name).resolve()) for name in config.args)
        self._called = False
        self._findings: Findings | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes whether a test of the API was run at all."""
        self._called |= report.when == "call" and OF_THE_API.name in report.nodeid.split("/")[:-1] and report.passed

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fails the session for an answer that is not as the document says, and when none was checked."""
        self._findings = Findings.of(Path(self._directory.name))
        nothing = self._wanted and self._called and not self._findings.answers
        if (self._findings.faults or nothing) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says what was found."""
        assert self._findings is not None
        if self._findings.answers or (self._wanted and self._called):
            for line in self._findings.report():
                terminalreporter.write_line(line, red=bool(self._findings.faults) or not self._findings.answers)

    def pytest_unconfigure(self) -> None:
        """Removes what was gathered."""
        self._directory.cleanup()


def pytest_configure(config: pytest.Config) -> None:
    """The marker of tests that the second lane of .ci/run leaves out, and the check of all answers."""
    if not hasattr(config, "workerinput"):  # pytest-xdist's
        config.pluginmanager.register(Answers(config))
    # A shell starts what runs in the background deaf to Ctrl-C, and children inherit that: here it is tested.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "any_server: says nothing about the servers' versions, so it is run once")


@pytest.fixture(scope="session")
def session_data() -> Iterator[Path]:
    """A directory of this session's under `.data/`, removed at the end, as are those of sessions that were killed."""
    from deploy.local.errors import LocalError
    from deploy.local.place import DataDirectory

    for old in (CHECKOUT / ".data").glob("test-*"):
        abandoned = DataDirectory(old)
        try:
            abandoned.lock()
        except (LocalError, OSError):
            continue  # in use, or being removed
        for server in old.glob("*/"):
            DataDirectory(server).remove()
        abandoned.remove()
        abandoned.unlock()
    ours = DataDirectory(CHECKOUT / ".data" / f"test-{os.getpid()}")
    ours.create()
    ours.lock()
    yield ours.path
    shutil.rmtree(ours.path)
    ours.unlock()


@pytest.fixture(scope="session")
def data_directories(session_data: Path) -> Iterator[Callable[[str], DataDirectory]]:
    """A function: a new data directory for servers; all are removed at the end."""
    from deploy.local.place import DataDirectory

    made: list[DataDirectory] = []

    def new(name: str) -> DataDirectory:
        made.append(DataDirectory(session_data / f"{name}-{len(made)}"))
        return made[-1]

    # PostgreSQL's account must pass through; DataDirectory.create() does as much for the directories below.
    yield new
    for directory in made:
        directory.remove()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The session's PostgreSQL."""
    from deploy.local.binaries import find_postgres
    from deploy.local.postgres import Postgres
    from tests.support.databases import GivenPostgres

    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield GivenPostgres(password_of(given))
        return
    new = request.getfixturevalue("data_directories")
    with Postgres(new("postgres"), find_postgres(os.environ), MANY_CONNECTIONS) as server:
        password_of(server.url())
        yield server


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The session's Redis or Valkey. Other tests publish there too: use usernames and run ids of your own."""
    from deploy.local.binaries import find_redis
    from deploy.local.valkey import Valkey

    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield password_of(given)
        return
    new = request.getfixturevalue("data_directories")
    with Valkey(new("redis"), find_redis(os.environ)) as server:
        yield password_of(server.url)


@pytest.fixture
async def database_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of a new, empty database."""
    from tests.support.databases import database

    async with database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> Iterator[list[str]]:
    """The name of the database that was migrated once, as soon as a test has needed it; dropped at the end."""
    import asyncio

    from tests.support.databases import drop

    names: list[str] = []
    yield names
    for name in names:
        asyncio.run(drop(postgres, name))


async def migrated(postgres: PostgresServer, template: list[str]) -> str:
    """The name of a database with the API's schema in it, to be copied."""
    from orchestrator_api.migrate import migrate
    from tests.support.databases import create

    if not template:
        name = await create(postgres)
        await migrate(postgres.url(name))
        template.append(name)
    return template[0]


@pytest.fixture
async def migrated_database_url(postgres: PostgresServer, template: list[str]) -> AsyncIterator[str]:
    """The URL of a new database with the API's schema in it."""
    from tests.support.databases import database

    async with database(postgres, await migrated(postgres, template)) as url:
        yield url


@pytest.fixture(scope="module")
def modules_database_url(postgres: PostgresServer, template: list[str]) -> Iterator[str]:
    """The same for all tests of a module, which use usernames and run ids of their own."""
    import asyncio

    from tests.support.databases import create, drop

    name = asyncio.run(create(postgres, asyncio.run(migrated(postgres, template))))
    yield postgres.url(name)
    asyncio.run(drop(postgres, name))


@pytest.fixture
def postgres_server(data_directories: Callable[[str], DataDirectory]) -> Iterator[OwnPostgres]:
    """A running PostgreSQL of the test's own."""
    from deploy.local.binaries import find_postgres
    from tests.support.servers import OwnPostgres

    directory = data_directories("own-postgres")
    with OwnPostgres(directory, find_postgres(os.environ), MANY_CONNECTIONS) as server:
        yield server
    directory.remove()


@pytest.fixture
def redis_server(data_directories: Callable[[str], DataDirectory]) -> Iterator[OwnRedis]:
    """A running Redis or Valkey of the test's own."""
    from deploy.local.binaries import find_redis
    from tests.support.servers import OwnRedis

    directory = data_directories("own-redis")
    with OwnRedis(directory, find_redis(os.environ)) as server:
        yield server
    directory.remove()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function: a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    from tests.support.ports import steady_port

    return steady_port
