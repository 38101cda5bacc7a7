"""The real API as a process, a proxy in front of it, and workers in processes of their own."""

import asyncio
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest

from runfeed import RunReporter
from tests.integration.clients.answering import Answering
from tests.support.client import call
from tests.support.databases import PostgresServer
from tests.support.processes import clean_environ, free_ports, procfile_command, ready_or_say_why
from tests.support.proxy import Proxy

CHECKOUT = Path(__file__).resolve().parents[3]
CLIENT = CHECKOUT / "clients/python"
OURS = ("URL", "USERNAME", "API_KEY", "TOKEN", "SPILL")
NAMES = ("RUN_ID", "JOB_ID", "WEBHOOK_BASE_URL", *(f"RUNFEED_{name}" for name in OURS))

New = Callable[..., RunReporter]


class Api:
    """What the tests ask the API. port: of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """A run's events; none when there is no such run."""
        answer = call(self.port, "GET", f"/runs/{quote(run_id)}/events", accept="application/json")
        return list(answer.json()["events"]) if answer.status == 200 else []

    def run(self, run_id: str) -> dict[str, Any]:
        """The run, or the problem."""
        return dict(call(self.port, "GET", f"/runs/{quote(run_id)}").json())

    def create(self, run_id: str, username: str = "alice") -> None:
        """Makes a run."""
        answer = call(self.port, "POST", "/runs", {"run_id": run_id, "username": username})
        assert answer.status == 201, answer


@pytest.fixture(scope="module")  # no longer: other modules' hubs would hear its beacons on the shared Redis
def api(postgres: PostgresServer, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API of this module's clients. Use run ids of your own."""
    from orchestrator_api.migrate import migrate
    from tests.support.databases import create, drop

    async def new() -> str:
        name = await create(postgres)
        await migrate(postgres.url(name))
        return name

    database = asyncio.run(new())
    environ = clean_environ(**free_ports(), DATABASE_URL=postgres.url(database), REDIS_URL=redis_url)
    with procfile_command("api", environ, tmp_path_factory.mktemp("clients") / "api.log") as running:
        ready_or_say_why(running, environ["API_ADMIN_PORT"])
        yield Api(int(environ["API_PORT"]))
    asyncio.run(drop(postgres, database))


class Gate:
    """A proxy that runs in a thread of its own, for tests that block. on: the port that it listens on, 0: any."""

    def __init__(self, port: int, on: int = 0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.proxy = Proxy(("127.0.0.1", port))
        asyncio.run_coroutine_threadsafe(self.proxy.start(on), self._loop).result()
        self.url = f"http://127.0.0.1:{self.proxy.port}"

    def do(self, change: Callable[[Proxy], None]) -> None:
        """Changes the proxy, in its own thread."""

        async def changed() -> None:
            change(self.proxy)

        asyncio.run_coroutine_threadsafe(changed(), self._loop).result()

    def close(self) -> None:
        """Ends the proxy and the thread."""
        asyncio.run_coroutine_threadsafe(self.proxy.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def gate(api: Api) -> Iterator[Gate]:
    """A proxy in front of the API."""
    running = Gate(api.port)
    yield running
    running.close()


@pytest.fixture
def gate_to() -> Iterator[Callable[[str], Gate]]:
    """A function: a proxy in front of whatever has this URL."""
    made: list[Gate] = []

    def new(url: str) -> Gate:
        made.append(Gate(int(url.rpartition(":")[2])))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A server that answers as it is told, for what the API never says by itself."""
    with Answering() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's configures a reporter."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run_id() -> str:
    """A run that no other test has."""
    return f"run-{secrets.token_hex(6)}"


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    """The test's own journals."""
    return tmp_path / "spill"


@pytest.fixture
def new(api: Api, run_id: str, spill: Path) -> Iterator[New]:
    """A function: a reporter of this test's run, closed at the end; what it is given goes to RunReporter."""
    made: list[RunReporter] = []

    def reporter(**given: Any) -> RunReporter:
        given = {"run_id": run_id, "url": api.url, "username": "alice", "spill": spill, "flush_timeout": 0.0, **given}
        made.append(RunReporter(**given))
        return made[-1]

    yield reporter
    for each in made:
        each.close()


Worker: TypeAlias = "subprocess.Popen[str]"
Start = Callable[..., Worker]


@pytest.fixture
def start(api: Api, run_id: str, spill: Path) -> Iterator[Start]:
    """A function: a worker as a process. `start(code)`, `start(args=[of runfeed])` or `start(command=[of python])`."""
    started: list[Worker] = []

    def run(
        code: str = "",
        *,
        args: Sequence[str] = (),
        command: Sequence[str] = (),
        stdin: int = subprocess.DEVNULL,
        **environ: str,
    ) -> Worker:
        names = {"RUN_ID": run_id, "RUNFEED_URL": api.url, "RUNFEED_USERNAME": "alice", "RUNFEED_SPILL": str(spill)}
        path = os.pathsep.join([str(CLIENT), str(CHECKOUT)])
        command = command or (["-m", "runfeed", *args] if args else ["-c", code])
        started.append(
            subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "PYTHONPATH": path, **names, **environ},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()


def journals(spill: Path) -> list[Path]:
    """The journals that are there."""
    return sorted(spill.glob("*.journal"))
