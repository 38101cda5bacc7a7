"""`./dev run` with small commands in the services' place: order, output, ends, and what it says of mistakes."""

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.local.checkouts import GIVEN, Checkout
from tests.support.processes import Program

pytestmark = pytest.mark.any_server


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


def test_hub_comes_when_the_api_is_ready(checkout: Checkout) -> None:
    """The hub asks the API as soon as it starts: it is not started before the API answers."""
    checkout.procfile(
        api="sh -c 'sleep 0.5; touch up; exec python service.py API'",
        fanout="sh -c '[ -e up ] && echo after the API; exec python service.py FANOUT'",
    )
    for _ in until_the_end(started := checkout.run(**GIVEN)):
        assert "fanout  | after the API\n" in started.output()


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL has another account")
def test_postgres_is_elsewhere(checkout: Checkout, tmp_path: Path) -> None:
    """Where PostgreSQL's account cannot come to the data, the last lines name its directory: others' look alike."""
    tmp_path.chmod(0o700)
    given = {"REDIS_URL": GIVEN["REDIS_URL"], "RUNFEED_DATA": str(tmp_path / "data")}
    for started in until_the_end(checkout.run(**given)):
        named = re.search(rf"To begin again, delete {tmp_path}/data and (\S+), which", started.output())
        assert named is not None, started.output()
        elsewhere = Path(named[1])
        try:
            assert (elsewhere / "data" / "PG_VERSION").exists()
            assert started.end(signal.SIGINT) == 0
        finally:
            shutil.rmtree(elsewhere.parent)  # this checkout's, which is the test's own


def test_postgres_is_here(with_postgres: Program) -> None:
    """Where it is below the data's directory nothing else need be deleted."""
    assert "To begin again" not in with_postgres.output()


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
