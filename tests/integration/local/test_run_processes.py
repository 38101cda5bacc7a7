"""`./dev run --processes N` with small commands in the services' place."""

import signal
import socket
import sys

import pytest

from tests.integration.local.checkouts import GIVEN, Checkout
from tests.support.ports import steady_port

pytestmark = [
    pytest.mark.any_server,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares a port's connections out"),
]


def steady_ports(processes: int) -> dict[str, str]:
    """Free ports for so many processes of each service."""
    beside = [10 * number for number in range(1, processes)]
    names = ("API_PORT", "FANOUT_PORT", "API_ADMIN_PORT", "FANOUT_ADMIN_PORT")
    return {name: str(steady_port(*(beside if name.endswith("ADMIN_PORT") else ()))) for name in names}


def test_processes(checkout: Checkout) -> None:
    """--processes 2: each by its name, admin ports ten apart, public ports shared; ready when all are, and all end."""
    ports = steady_ports(2)
    started = checkout.run("--processes", "2", **GIVEN, **ports)
    try:
        output = started.says("Ctrl-C stops everything.")
        assert len(started.members()) >= 5  # the launcher and four services
        assert started.end(signal.SIGTERM) == 0
        started.assert_nothing_left()
    finally:
        started.close()

    assert output.count("migrated") == 1
    for name, service in (("API", "api"), ("FANOUT", "fanout")):
        first = int(ports[f"{name}_ADMIN_PORT"])
        for number in (1, 2):
            admin = first + 10 * (number - 1)
            said = f"{f'{service}.{number}':<8} | admin {admin} public {ports[f'{name}_PORT']} shared 1 1\n"
            assert said in output
        assert f"(metrics, readiness: http://127.0.0.1:{first}, http://127.0.0.1:{first + 10})\n" in output
    left = [line.split()[0] for line in started.output().splitlines() if line.endswith("| leaving")]
    assert sorted(left[:2]) == ["fanout.1", "fanout.2"]
    assert sorted(left[2:]) == ["api.1", "api.2"]


def test_alone_shares_nothing(checkout: Checkout) -> None:
    """A service's only process is not told to share its port."""
    started = checkout.run("--processes", "1", **GIVEN)
    try:
        started.says("Ctrl-C stops everything.")
        assert "api     | admin " in started.output()
        assert started.output().count("shared None None\n") == 2
    finally:
        started.close()


def test_services_leave_together(checkout: Checkout) -> None:
    """The processes of one service are told to leave at once: none waits for the draining of another."""
    stays = 'trap "echo told; until [ -e go ]; do sleep 0.05; done; exit" TERM'
    checkout.procfile(fanout=f"sh -c '{stays}; python service.py FANOUT & wait'")
    started = checkout.run("--processes=3", **GIVEN, **steady_ports(3))
    try:
        started.says("Ctrl-C stops everything.")
        started.process.send_signal(signal.SIGTERM)
        for number in (1, 2, 3):
            started.says(f"fanout.{number} | told", within=10)  # less than what one of them is given
        (checkout.path / "go").touch()
        assert started.process.wait(30) == 0
        started.assert_nothing_left()
    finally:
        started.close()


def test_one_of_several_dies(checkout: Checkout) -> None:
    """When one process of a service dies all are stopped, and the line says which it was."""
    dies = "[ $API_ADMIN_PORT = $DYING ] && until [ -e go ]; do sleep 0.05; done && exit 7"
    checkout.procfile(api=f"sh -c 'python service.py API & {dies}; wait'")
    ports = steady_ports(2)
    started = checkout.run("--processes", "2", **GIVEN, **ports, DYING=str(int(ports["API_ADMIN_PORT"]) + 10))
    try:
        started.says("Ctrl-C stops everything.")
        (checkout.path / "go").touch()
        assert started.process.wait(30) == 1
        started.assert_nothing_left()
    finally:
        started.close()

    assert started.output().splitlines()[-1] == "dev: api.2 ended with exit code 7"


def test_not_ready_until_all_are(checkout: Checkout) -> None:
    """It is not ready while one of several processes is not."""
    waits = "[ $FANOUT_ADMIN_PORT = $LATE ] && until [ -e go ]; do sleep 0.05; done"
    checkout.procfile(fanout=f"sh -c '{waits}; exec python service.py FANOUT'")
    ports = steady_ports(2)
    started = checkout.run("--processes", "2", **GIVEN, **ports, LATE=str(int(ports["FANOUT_ADMIN_PORT"]) + 10))
    try:
        for name in ("api.1   ", "api.2   ", "fanout.1"):
            started.says(f"{name} | serving")
        assert "Runfeed is ready" not in started.output()
        (checkout.path / "go").touch()
        started.says("Ctrl-C stops everything.")
    finally:
        started.close()


def test_admin_port_of_another_in_use(checkout: Checkout) -> None:
    """A port in use that is an admin port plus ten is one line that names the variable to change."""
    ports = steady_ports(2)
    with socket.create_server(("127.0.0.1", int(ports["FANOUT_ADMIN_PORT"]) + 10)) as listener:
        port = listener.getsockname()[1]
        started = checkout.run("--processes", "2", **ports)
        try:
            assert started.process.wait(30) == 1
        finally:
            started.close()

    assert started.output() == (
        f"dev: port {port} (FANOUT_ADMIN_PORT + 10) is in use; stop what listens there,"
        " or set FANOUT_ADMIN_PORT to another port\n"
    )


def test_shared_port_in_use(checkout: Checkout) -> None:
    """A public port that another process would share is in use all the same: it is not of this stack."""
    ports = steady_ports(2)
    with socket.create_server(("127.0.0.1", int(ports["API_PORT"])), reuse_port=True):
        started = checkout.run("--processes", "2", **ports)
        try:
            assert started.process.wait(30) == 1
        finally:
            started.close()

    assert started.output() == (
        f"dev: port {ports['API_PORT']} is in use; stop what listens there, or set API_PORT to another port\n"
    )


@pytest.mark.parametrize(
    ("arguments", "names", "line"),
    [
        (["--processes"], {}, "--processes takes a whole number, 1 to 8, and was given none"),
        (["--processes", "0"], {}, "--processes takes a whole number, 1 to 8, and was given 0"),
        (["--processes=9"], {}, "--processes takes a whole number, 1 to 8, and was given 9"),
        (["--processes", "-1"], {}, "--processes takes a whole number, 1 to 8, and was given -1"),
        (["--processes", "two"], {}, "--processes takes a whole number, 1 to 8, and was given two"),
        (["--processes", "2", "3"], {}, "--processes takes a whole number, 1 to 8, and was given 2 3"),
        (["--quick"], {}, "run takes --processes N and nothing else, and was given --quick"),
        (
            ["--processes", "2"],
            {"API_ADMIN_PORT": "18075", "FANOUT_PORT": "18085"},
            "API_ADMIN_PORT + 10 and FANOUT_PORT are both 18085; set one of them to another port",
        ),
        (
            ["--processes", "2"],
            {"FANOUT_ADMIN_PORT": "65530"},
            "FANOUT_ADMIN_PORT + 10 is 65540; it must be a port, 1 to 65535: set FANOUT_ADMIN_PORT to a lower one",
        ),
    ],
)
def test_bad_arguments(checkout: Checkout, arguments: list[str], names: dict[str, str], line: str) -> None:
    """A number of processes that cannot be is one line, before anything is started."""
    started = checkout.run(*arguments, **names)
    try:
        assert started.process.wait(30) == 1
        started.assert_nothing_left()
    finally:
        started.close()

    assert started.output() == f"dev: {line}\n"
