"""`./dev run` with small commands in the services' place: order, output, ends, and what it says of mistakes."""

import os
import re
import shutil
import signal
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT, DataDirectory
from tests.support.processes import Program, clean_environ, free_ports

pytestmark = pytest.mark.any_server
SERVICE = """
import http.server, os, signal, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

def leave(*_):
    print("leaving", flush=True)
    threading.Thread(target=server.shutdown).start()

name = sys.argv[1]
server = http.server.HTTPServer(("127.0.0.1", int(os.environ[name + "_ADMIN_PORT"])), Handler)
signal.signal(signal.SIGTERM, leave)
print("serving", os.environ.get("PORT", "no PORT"), os.environ["FANOUT_HISTORY_URL"], flush=True)
server.serve_forever()
"""
# Stores that nobody asks: most of these tests are about the services, and servers take a second each to make.
GIVEN = {"DATABASE_URL": "postgresql://u:secret@db.example/x", "REDIS_URL": "redis://cache.example"}
PROCFILE = {
    "release": "echo migrated",
    "api": "python service.py API",
    "fanout": "python service.py FANOUT",
}


class Checkout:
    """A checkout whose services are small commands; `run` starts `./dev run` in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / ".data"
        shutil.copytree(CHECKOUT / "deploy", path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dev", "requirements.lock"):
            shutil.copy2(CHECKOUT / name, path / name)
        (path / ".venv").symlink_to(CHECKOUT / ".venv")
        (path / "service.py").write_text(SERVICE)
        self.procfile()

    def procfile(self, **commands: str) -> None:
        """Write the Procfile, some of its commands changed."""
        lines = (f"{name}: {command}\n" for name, command in {**PROCFILE, **commands}.items())
        (self.path / "Procfile").write_text("".join(lines))

    def run(self, **names: str) -> "Program":
        """`./dev run` with its output in a file."""
        environ = clean_environ(**{**free_ports(), "PORT": "1", **names})
        log = self.path / f"run-{len(list(self.path.glob('run-*')))}.log"
        return Program([self.path / "dev", "run"], environ, log, self.path)


@pytest.fixture
def checkout(session_data: Path, request: pytest.FixtureRequest) -> Iterator[Checkout]:
    """A checkout of the test's own, where PostgreSQL's account can reach it."""
    path = session_data / f"a checkout [{zlib.crc32(request.node.name.encode())}]"  # such names exist
    path.mkdir(mode=0o755)
    made = Checkout(path)
    yield made
    DataDirectory(made.data).remove()
    shutil.rmtree(path)


@pytest.fixture
def running(checkout: Checkout) -> Iterator[Program]:
    """`./dev run` with given stores, ready."""
    yield from until_the_end(checkout.run(**GIVEN))


@pytest.fixture
def with_postgres(checkout: Checkout) -> Iterator[Program]:
    """`./dev run` with a PostgreSQL of its own, ready."""
    yield from until_the_end(checkout.run(REDIS_URL=GIVEN["REDIS_URL"]))


def until_the_end(started: Program) -> Iterator[Program]:
    """Wait until it is ready; kill what is left of it at the end."""
    try:
        started.says("Ctrl-C stops everything.")
        yield started
    finally:
        started.close()


def test_output_is_named(running: Program) -> None:
    """Each line of a command comes after its name; PORT is removed, and history is the API's own URL."""
    output = running.says("fanout  | serving")

    assert "release | migrated\n" in output
    assert re.search(r"^api     \| serving no PORT http://127\.0\.0\.1:\d+$", output, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop(running: Program, number: signal.Signals) -> None:
    """INT, TERM and HUP stop the services, the last one first, and that is no failure."""
    assert len(running.members()) >= 3  # the launcher and two services

    assert running.end(number) == 0
    running.assert_nothing_left()
    lines = [line for line in running.output().splitlines() if "leaving" in line]
    assert lines == ["fanout  | leaving", "api     | leaving"]


def test_killed_launcher(with_postgres: Program) -> None:
    """A launcher that is killed takes all its processes with it."""
    assert with_postgres.end(signal.SIGKILL) == -signal.SIGKILL
    with_postgres.assert_nothing_left()


def test_service_dies(checkout: Checkout) -> None:
    """When a service dies all are stopped; exit code 1, and one line says which died and how."""
    checkout.procfile(fanout="sh -c 'python service.py FANOUT & sleep 2; exit 7'")
    started = checkout.run(**GIVEN)
    try:
        started.says("Ctrl-C stops everything.")
        assert started.process.wait(30) == 1
        started.assert_nothing_left()
    finally:
        started.close()

    assert started.output().splitlines()[-1] == "dev: fanout ended with exit code 7"


def test_server_dies(with_postgres: Program) -> None:
    """When PostgreSQL dies all are stopped, with exit code 1 and a line that says so."""
    for pid in with_postgres.members():
        if "postgres -D" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
            os.kill(pid, signal.SIGKILL)

    assert with_postgres.process.wait(30) == 1
    assert with_postgres.output().splitlines()[-1] == "dev: postgres was ended by SIGKILL"
    with_postgres.assert_nothing_left()


def test_release_fails(checkout: Checkout) -> None:
    """A migration that fails ends it before any service is started."""
    checkout.procfile(release="sh -c 'echo no such table; exit 3'")
    started = checkout.run(**GIVEN)
    try:
        assert started.process.wait(30) == 1
        started.assert_nothing_left()
    finally:
        started.close()

    assert started.output() == ("release | no such table\ndev: release ended with exit code 3; its reason is above\n")


def test_service_that_ignores_term_is_killed(checkout: Checkout) -> None:
    """A service that does not hear TERM is killed when its time is over, with what it started."""
    supervise = checkout.path / "deploy/local/supervise.py"
    supervise.write_text(supervise.read_text().replace("STOP_SECONDS = 15.0", "STOP_SECONDS = 0.5"))
    checkout.procfile(api="sh -c 'trap : TERM; python service.py API & while :; do sleep 1; done'")
    started = checkout.run(**GIVEN)
    try:
        started.says("Ctrl-C stops everything.")
        assert started.end(signal.SIGTERM) == 0
        started.assert_nothing_left()
    finally:
        started.close()


def test_second_run(checkout: Checkout, with_postgres: Program) -> None:
    """A second run on the same data is one line that names the process and what to change."""
    second = checkout.run()
    try:
        assert second.process.wait(30) == 1
    finally:
        second.close()

    assert second.output() == (
        f"dev: {checkout.data} is in use by another ./dev (process {with_postgres.process.pid}); "
        "stop that one, or set RUNFEED_DATA to another directory\n"
    )


@pytest.mark.parametrize("name", ["API_PORT", "API_ADMIN_PORT", "FANOUT_PORT", "FANOUT_ADMIN_PORT"])
def test_port_in_use(checkout: Checkout, name: str) -> None:
    """A port in use is one line that names the port and its variable, before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        started = checkout.run(**{name: str(port)})
        try:
            assert started.process.wait(30) == 1
        finally:
            started.close()

    assert started.output() == (f"dev: port {port} is in use; stop what listens there, or set {name} to another port\n")
    assert not (checkout.data / "pg").exists()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({"API_PORT": "eighty"}, "API_PORT is 'eighty'; it must be a port, 1 to 65535"),
        ({"FANOUT_PORT": "65536"}, "FANOUT_PORT is '65536'; it must be a port, 1 to 65535"),
        (
            {"API_PORT": "18080", "FANOUT_PORT": "18080"},
            "API_PORT and FANOUT_PORT are both 18080; set one of them to another port",
        ),
        ({"PG_BIN_DIR": "/nowhere"}, "PG_BIN_DIR: /nowhere has no postgres and initdb in it"),
        (
            {"DATABASE_URL": GIVEN["DATABASE_URL"], "REDIS_SERVER_BIN": "/nowhere"},
            "REDIS_SERVER_BIN: /nowhere does not exist",
        ),
    ],
)
def test_bad_configuration(checkout: Checkout, names: dict[str, str], line: str) -> None:
    """A variable that cannot be used is named in one line."""
    started = checkout.run(**names)
    try:
        assert started.process.wait(30) == 1
        started.assert_nothing_left()
    finally:
        started.close()

    assert started.output() == f"dev: {line}\n"


def test_given_stores(checkout: Checkout) -> None:
    """With both URLs given no server is started and no data directory is made."""
    started = checkout.run(**GIVEN)
    try:
        output = started.says("Ctrl-C stops everything.")
        assert started.end(signal.SIGINT) == 0
    finally:
        started.close()

    assert "given by DATABASE_URL    postgresql://u:...@db.example/x" in output
    assert "secret" not in output
    assert not checkout.data.exists()
