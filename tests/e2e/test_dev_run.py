"""`./dev run` and a Procfile runner, as a user has them: real servers, real services, over the network."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from deploy.local.environment import Environment
from deploy.local.hub_key import name_of
from deploy.local.place import CHECKOUT, Account, DataDirectory
from orchestrator_api import keys
from orchestrator_api.store import QUERIES
from tests.support.client import call, round_trip, unique_username
from tests.support.dev import READY, dev, examples, shell
from tests.support.ports import steady_port
from tests.support.processes import (
    BIN_DIR,
    PORT_NAMES,
    Program,
    clean_environ,
    free_ports,
    procfile_command,
    program,
    ready_or_say_why,
)
from tests.support.proving import HMAC_KEY
from tests.support.report_and_watch import report_and_watch
from tests.support.waiting import eventually_sync

NOBODY = Account("nobody", 65534, 65534)


@pytest.fixture(scope="module")
def stack(data_directories: Callable[[str], DataDirectory]) -> Iterator[tuple[Program, dict[str, str]]]:
    """`./dev run` with everything of its own, ready; its environment."""
    data = data_directories("dev-run")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path))
    with program([CHECKOUT / "dev", "run"], environ, data.path / "run.log") as running:
        running.says(READY)
        yield running, environ


def test_examples_work(stack: tuple[Program, dict[str, str]], tmp_path: Path) -> None:
    """Every command that it shows does what it says, when it is copied as it stands."""
    running, given = stack
    environ = clean_environ()  # another terminal: nothing is set there
    shown = examples(running.output())

    assert sorted(shown) == ["append", "create", "metrics", "page", "poll", "psql", "watch"]
    assert "history_away" not in running.output(), "the hub came before the API"
    assert shown["page"] == f"http://127.0.0.1:{given['API_PORT']}/"
    assert call(given["API_PORT"], "GET", "/").headers["content-type"].startswith("text/html")
    with program(["/bin/sh", "-c", shown["watch"]], environ, tmp_path / "watch.log") as watching:
        watching.says("Connected to")
        assert '"run_id":"hello"' in shell(shown["create"], environ)
        assert '"events":[{"id":1,"seq":1}]' in shell(shown["append"], environ)
        seen = watching.says('"type":"node_completed"')
    polled = shell(shown["poll"], environ)
    frame = re.search(r'\{"id":1,"seq":1,.*\}', seen)
    assert frame is not None
    assert f'"events":[{frame[0]}]' in polled
    assert "fanout_" in shell(shown["metrics"], environ)
    assert shell(f"{shown['psql']} -Atc 'SELECT count(*) FROM events'", environ) == "1\n"


def test_hubs_key(migrated_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """The key that it makes for the hub has no end and goes with it, as does that of a stack which was killed."""
    stores = {"DATABASE_URL": migrated_database_url, "REDIS_URL": redis_url}
    environ = clean_environ(**free_ports(), **stores, AUTH_HMAC_KEY=HMAC_KEY)

    async def kept(*names: str) -> dict[str, float | None]:
        """The ends of all keys, by name, when hubs' keys of these names have been added."""
        connection = await asyncpg.connect(migrated_database_url)
        try:
            for name in names:
                key_id, _, digest = keys.new()
                row = (key_id, digest, ["hub"], None, None, name, 1.0, None)
                await connection.execute(QUERIES["add_api_key"], *row)
            rows = await connection.fetch("SELECT name, expires_at FROM api_keys")
            assert len(rows) == len({row["name"] for row in rows}), "the killed stack's is there, too"
            return {row["name"]: row["expires_at"] for row in rows}
        finally:
            await connection.close()

    ours = name_of(Environment.from_env(environ))
    asyncio.run(kept(ours, "the operator's"))
    with program([CHECKOUT / "dev", "run"], environ, tmp_path / "run.log") as running:
        running.says(READY)
        assert asyncio.run(kept()) == {ours: None, "the operator's": None}
        assert running.end(signal.SIGTERM) == 0

    assert asyncio.run(kept()) == {"the operator's": None}


def test_a_terminal_with_a_key(stack: tuple[Program, dict[str, str]]) -> None:
    """What a terminal with a key makes is of no use here, and it is told so."""
    status, said = dev(
        clean_environ(RUNFEED_DATA=stack[1]["RUNFEED_DATA"], AUTH_HMAC_KEY=HMAC_KEY), "api", "keys", "list"
    )

    assert (status, said) == (1, "dev: this terminal has AUTH_HMAC_KEY, and ./dev run has none\n")


def test_round_trip(stack: tuple[Program, dict[str, str]]) -> None:
    """What a worker reports is on the socket as the very bytes that the poll returns."""
    _, environ = stack

    round_trip(environ["API_PORT"], environ["FANOUT_PORT"])


def test_clients(stack: tuple[Program, dict[str, str]], tmp_path: Path) -> None:
    """A worker and a viewer that know the API's address, and nothing else, report and watch."""
    _, environ = stack

    report_and_watch(f"http://127.0.0.1:{environ['API_PORT']}", tmp_path / "spill")


def test_second_run(stack: tuple[Program, dict[str, str]]) -> None:
    """A second run on the same data is one line and exit code 1."""
    running, environ = stack
    done = subprocess.run(
        [CHECKOUT / "dev", "run"], env=environ, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(
        rf"dev: .* is in use by another ./dev \(process {running.process.pid}\); .*RUNFEED_DATA.*\n", done.stderr
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left(data_directories: Callable[[str], DataDirectory], number: signal.Signals) -> None:
    """Ctrl-C, TERM and a killed launcher leave no process behind, even while a client is connected."""
    data = data_directories("dev-run")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path))
    with program([CHECKOUT / "dev", "run"], environ, data.path / "run.log") as running:
        running.says(READY)
        with connect(f"ws://127.0.0.1:{environ['FANOUT_PORT']}/ws?username={unique_username()}", proxy=None):
            assert len(running.members()) >= 5  # the launcher, two services, two servers
            assert running.end(number) == (-number if number == signal.SIGKILL else 0)
            running.assert_nothing_left()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a port's connections out")
def test_processes(data_directories: Callable[[str], DataDirectory]) -> None:
    """--processes 2: one migration, four processes, sockets at both hubs; Ctrl-C drains both and leaves nothing."""
    data = data_directories("dev-run")
    data.create()
    ports = {name: str(steady_port(10)) for name in PORT_NAMES}
    environ = clean_environ(**ports, RUNFEED_DATA=str(data.path), FANOUT_DRAIN="1")
    command: list[str | Path] = [CHECKOUT / "dev", "run", "--processes", "2"]
    with program(command, environ, data.path / "run.log") as running, contextlib.ExitStack() as stack:
        output = running.says(READY)
        admins = [int(ports[name]) + more for name in ("API_ADMIN_PORT", "FANOUT_ADMIN_PORT") for more in (0, 10)]
        # Each has said so once before READY; on a busy machine one may take too long over its next answer.
        eventually_sync(lambda: all(call(admin, "GET", "/readyz").status == 200 for admin in admins), within=10)
        round_trip(ports["API_PORT"], ports["FANOUT_PORT"])
        url = f"ws://127.0.0.1:{ports['FANOUT_PORT']}/ws?username={unique_username()}"
        sockets = [stack.enter_context(connect(url, proxy=None)) for _ in range(30)]
        assert all(call(admin, "GET", "/stats").json()["connections"] for admin in admins[2:])
        running.process.send_signal(signal.SIGINT)
        for socket in sockets:
            with pytest.raises(ConnectionClosed) as end:
                socket.recv(timeout=10)
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1012
        assert running.process.wait(30) == 0
        running.assert_nothing_left()

    assert len(re.findall(r"\| applied \S+_append\b", output)) == 1
    for name in ("api.1", "api.2", "fanout.1", "fanout.2"):
        assert re.search(rf"^{re.escape(name)} +\| ", output, re.MULTILINE)
    for admin in admins:
        assert f"http://127.0.0.1:{admin}" in output


def test_given_database(database_url: str, data_directories: Callable[[str], DataDirectory]) -> None:
    """DATABASE_URL alone: that database is migrated and used, and Redis is still our own."""
    data = data_directories("dev-run")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path), DATABASE_URL=database_url)
    with program([CHECKOUT / "dev", "run"], environ, data.path / "run.log") as running:
        output = running.says(READY)
        round_trip(environ["API_PORT"], environ["FANOUT_PORT"])
        assert running.end(signal.SIGTERM) == 0

    assert "given by DATABASE_URL" in output
    assert "given by REDIS_URL" not in output
    assert not data.postgres_directory.exists()


def test_given_redis(redis_url: str, data_directories: Callable[[str], DataDirectory]) -> None:
    """REDIS_URL alone: that Redis is used, and PostgreSQL is still our own."""
    data = data_directories("dev-run")
    data.create()
    environ = clean_environ(**free_ports(), RUNFEED_DATA=str(data.path), REDIS_URL=redis_url)
    with program([CHECKOUT / "dev", "run"], environ, data.path / "run.log") as running:
        output = running.says(READY)
        round_trip(environ["API_PORT"], environ["FANOUT_PORT"])
        assert running.end(signal.SIGTERM) == 0

    assert "given by REDIS_URL" in output
    assert "given by DATABASE_URL" not in output
    assert not data.redis_directory.exists()


def test_procfile_runner(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """An ordinary Procfile runner with given URLs migrates, then runs both services, and its TERM ends them."""
    environ = clean_environ(**free_ports(), DATABASE_URL=database_url, REDIS_URL=redis_url)
    environ["FANOUT_HISTORY_URL"] = f"http://127.0.0.1:{environ['API_PORT']}"
    honcho = str(BIN_DIR / "honcho")
    shell(f"{honcho} run python -m orchestrator_api migrate", environ)
    with program([honcho, "start", "api", "fanout"], environ, tmp_path / "honcho.log") as running:
        for name in ("API_ADMIN_PORT", "FANOUT_ADMIN_PORT"):
            ready_or_say_why(running, environ[name])
        round_trip(environ["API_PORT"], environ["FANOUT_PORT"])
        running.end(signal.SIGTERM)
        running.assert_nothing_left()


@pytest.mark.parametrize(("name", "port"), [("api", "API_PORT"), ("fanout", "FANOUT_PORT")])
def test_port_variable(migrated_database_url: str, redis_url: str, tmp_path: Path, name: str, port: str) -> None:
    """A platform that gives one PORT is heard by each service when its own name is not set."""
    environ = clean_environ(**free_ports(), DATABASE_URL=migrated_database_url, REDIS_URL=redis_url)
    environ["PORT"] = environ.pop(port)
    with procfile_command(name, environ, tmp_path / "log") as running:
        admin = environ[f"{port.removesuffix('_PORT')}_ADMIN_PORT"]
        ready_or_say_why(running, admin)
        assert call(environ["PORT"], "GET", "/healthz").status == 200


@pytest.mark.install
@pytest.mark.timeout(240)  # it makes a .venv of its own
def test_ordinary_user() -> None:
    """An ordinary user with a fresh copy of the checkout gets everything from one command, all of it the user's own."""
    if os.geteuid() != 0:
        pytest.skip("we are an ordinary user: every other test here shows it")
    top = Path(tempfile.mkdtemp(prefix="runfeed-user-", dir="/var/tmp"))
    try:
        top.chmod(0o755)
        checkout = copy_of_checkout(top / "checkout")
        ports = free_ports()
        environ = clean_environ(**ports, HOME=str(top), PIP_NO_CACHE_DIR="1")
        environ["PATH"] = environ["PATH"].replace(f"{BIN_DIR}{os.pathsep}", "", 1)
        with program([checkout / "dev", "run"], environ, top / "log", checkout, NOBODY) as running:
            running.says(READY, within=200)
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in running.members()}
            assert owners == {NOBODY.uid}
            round_trip(ports["API_PORT"], ports["FANOUT_PORT"])
            assert running.end(signal.SIGINT) == 0
            running.assert_nothing_left()
    finally:
        shutil.rmtree(top)


def copy_of_checkout(path: Path) -> Path:
    """The project's files as a clone has them, owned by an ordinary user."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (CHECKOUT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, path / name)
    for directory, _, files in os.walk(path.parent):
        for name in (".", *files):
            os.chown(Path(directory, name), NOBODY.uid, NOBODY.gid)
    return path
