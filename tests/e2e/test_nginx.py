"""deploy/nginx.conf in front of the real services: sockets, refusals and API calls through a real nginx."""

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from deploy.local.place import CHECKOUT
from tests.support import eventually_sync
from tests.support.client import ANSWER_SECONDS, append, call, new_run, round_trip, unique_username
from tests.support.ports import steady_port
from tests.support.processes import clean_environ, program, services
from tests.support.report_and_watch import report_and_watch

pytestmark = pytest.mark.any_server
PINGS = {"PING_INTERVAL": "0.5", "PING_GRACE": "0.5"}  # seconds, instead of 25 and 10
SILENCE = "1500ms"  # instead of nginx's 75 s; as there, three pings
BATCH = 1000  # events, the API's bound


@dataclass(frozen=True)
class Proxy:
    """nginx's port, its access log, and the environment of the services behind it."""

    port: int
    access_log: Path
    environ: dict[str, str]


def nginx() -> str:
    """The program; without it the test is skipped on a developer's machine and fails in CI."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed, and CI must not skip this")
        pytest.skip(
            "NOT TESTED: nginx is not installed, so deploy/nginx.conf was not run (apt-get install nginx-light)"
        )
    return found


def configuration(port: int, environ: dict[str, str], prefix: Path) -> str:
    """deploy/nginx.conf with the addresses of this test; AssertionError when one of them does not stand there."""
    text = (CHECKOUT / "deploy/nginx.conf").read_text()
    changes = {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "server 127.0.0.1:8081;": f"server 127.0.0.1:{environ['API_PORT']};",
        "server 127.0.0.1:8085;": f"server 127.0.0.1:{environ['FANOUT_PORT']};",
        "access_log /dev/stdout": f"access_log {prefix}/access.log",
        "worker_processes auto;": "worker_processes 1;",
        "worker_rlimit_nofile 65536;": "",  # an ordinary user may not have as many
        "worker_connections 32768;": "worker_connections 256;",
        "http {\n": "http {\n" + temporary_paths(prefix),
        "proxy_read_timeout 75s;": f"proxy_read_timeout {SILENCE};",
        "proxy_send_timeout 75s;": f"proxy_send_timeout {SILENCE};",
    }
    for old, new in changes.items():
        assert old in text, f"deploy/nginx.conf no longer has {old!r}"
        text = text.replace(old, new)
    return text


def temporary_paths(prefix: Path) -> str:
    """Directives for where nginx keeps bodies: its own places are root's."""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"    {name}_temp_path {prefix}/{name};\n" for name in names)


@pytest.fixture
def proxy(migrated_database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Proxy]:
    """nginx in front of both services."""
    binary = nginx()
    prefix, port = tmp_path / "nginx", steady_port()
    prefix.mkdir()
    names = {**PINGS, "ALLOWED_ORIGINS": "https://app.example"}
    names |= {"PUBLIC_HUB_URL": f"ws://127.0.0.1:{port}", "TRUSTED_PROXIES": "127.0.0.1"}
    with services(migrated_database_url, redis_url, tmp_path, **names) as environ:
        (prefix / "nginx.conf").write_text(configuration(port, environ, prefix))
        options = f"daemon off; pid {prefix}/pid; error_log {prefix}/error.log;"
        if os.geteuid() == 0:
            options += " user root;"  # its workers would not reach a directory of ours
        command: list[str | Path] = [
            binary,
            "-p",
            prefix,
            "-c",
            prefix / "nginx.conf",
            "-e",
            prefix / "error.log",
            "-g",
            options,
        ]
        with program(command, clean_environ(), tmp_path / "nginx.log") as running:
            eventually_sync(lambda: answers(port) or running.process.poll() is not None, within=ANSWER_SECONDS)
            assert running.process.poll() is None, running.output()
            yield Proxy(port, prefix / "access.log", environ)
    errors = (prefix / "error.log").read_text()
    assert not re.search(r"\[(emerg|alert|crit)\]", errors), errors


def answers(port: int) -> bool:
    """Whether nginx answers."""
    try:
        return call(port, "GET", "/nothing").status == 404
    except OSError:
        return False


def test_configuration_as_it_stands(tmp_path: Path) -> None:
    """nginx takes the file as it is in the repository, without a warning."""
    text = (CHECKOUT / "deploy/nginx.conf").read_text()
    (tmp_path / "nginx.conf").write_text(text.replace("http {\n", "http {\n" + temporary_paths(tmp_path)))
    command: list[str | Path] = [
        nginx(),
        "-t",
        "-p",
        tmp_path,
        "-c",
        tmp_path / "nginx.conf",
        "-e",
        tmp_path / "error.log",
    ]
    done = subprocess.run(
        [*command, "-g", f"pid {tmp_path}/pid;"], capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_frames_through_the_proxy(proxy: Proxy) -> None:
    """What a worker reports through the proxy is on a socket through the proxy as the bytes that the poll returns."""
    round_trip(proxy.port, proxy.port, events=50)


def test_clients_through_the_proxy(proxy: Proxy, tmp_path: Path) -> None:
    """A worker and a viewer that know the proxy's address, and nothing else, report and watch through it."""
    report_and_watch(f"http://127.0.0.1:{proxy.port}", tmp_path / "spill")


def test_idle_socket_outlives_the_timeout(proxy: Proxy) -> None:
    """A socket on which nothing happens stays open beyond the proxy's timeout, because of the hub's pings."""
    username = unique_username()
    admin = proxy.environ["FANOUT_ADMIN_PORT"]
    with connect(f"ws://127.0.0.1:{proxy.port}/ws?username={username}", proxy=None, ping_interval=None) as socket:
        with pytest.raises(TimeoutError):
            socket.recv(
                timeout=3
            )  # three times what nginx would wait; a socket that it had closed raises another error
        run_id = new_run(proxy.port, username)
        append(proxy.port, run_id, type="tick")
        frame = json.loads(socket.recv(timeout=ANSWER_SECONDS))
        assert call(admin, "GET", "/stats").json()["connections"] == 1

    assert frame["run_id"] == run_id


def test_client_that_leaves(proxy: Proxy) -> None:
    """A client that leaves through the proxy is gone at the hub."""
    admin = proxy.environ["FANOUT_ADMIN_PORT"]
    with connect(f"ws://127.0.0.1:{proxy.port}/ws?username={unique_username()}", proxy=None):
        eventually_sync(lambda: call(admin, "GET", "/stats").json()["connections"] == 1)
    eventually_sync(lambda: call(admin, "GET", "/stats").json()["connections"] == 0)


def test_refusals_are_the_services(proxy: Proxy) -> None:
    """A refusal comes through with its status and its problem, from the hub and from the API."""
    url = f"ws://127.0.0.1:{proxy.port}/ws"
    with pytest.raises(InvalidStatus) as nameless, connect(url, proxy=None):
        pass
    with (
        pytest.raises(InvalidStatus) as foreign,
        connect(f"{url}?username=u", proxy=None, origin=Origin("https://evil.example")),
    ):
        pass
    unknown = call(proxy.port, "GET", "/runs/unknown/events", accept="application/json")

    assert nameless.value.response.status_code == 400
    assert nameless.value.response.headers["Content-Type"] == "application/problem+json"
    assert foreign.value.response.status_code == 403
    assert (unknown.status, unknown.headers["content-type"]) == (404, "application/problem+json")


def test_allowed_origin(proxy: Proxy) -> None:
    """A page of an allowed origin gets its socket, and the API's answer names that origin."""
    origin = Origin("https://app.example")
    with connect(f"ws://127.0.0.1:{proxy.port}/ws?username=u", proxy=None, origin=origin):
        answer = call(proxy.port, "GET", "/api/v1/runs?username=u", origin=origin)

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin


def test_large_batch_and_long_history(proxy: Proxy) -> None:
    """A batch beyond nginx's own limit is taken, its history comes back whole, and 304 passes through."""
    run_id = new_run(proxy.port, unique_username())
    events = [{"type": "tick", "number": number, "text": "x" * 2500} for number in range(BATCH)]
    taken = call(proxy.port, "POST", f"/api/v1/runs/{run_id}/events", {"events": events})
    history = call(proxy.port, "GET", f"/runs/{run_id}/events")
    again = call(proxy.port, "GET", f"/runs/{run_id}/events", if_none_match=history.headers["etag"])

    assert taken.status == 201
    assert [event["number"] for event in history.json()["events"]] == list(range(BATCH))
    assert (again.status, again.body) == (304, b"")


def test_page(proxy: Proxy) -> None:
    """The page is at the proxy's address, packed and with its headers, and is told to find the hub there."""
    plain = call(proxy.port, "GET", "/")
    again = call(proxy.port, "GET", "/", if_none_match=plain.headers["etag"])
    packed = call(proxy.port, "GET", "/page/index.html", accept_encoding="gzip")
    config = call(proxy.port, "GET", "/api/v1/config")

    assert (plain.status, plain.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in plain.headers["content-security-policy"]
    assert (again.status, again.body) == (304, b"")
    assert (packed.headers["content-encoding"], gzip.decompress(packed.body)) == ("gzip", plain.body)
    assert config.json()["hub"] == f"ws://127.0.0.1:{proxy.port}"
    assert call(proxy.port, "GET", "/page/none.js").headers["content-type"] == "application/problem+json"


def test_admin_is_not_reachable(proxy: Proxy) -> None:
    """Metrics and readiness are not to be had through the proxy."""
    for path in ("/metrics", "/readyz", "/stats", "/healthz", "/page", "/pages/x"):
        assert call(proxy.port, "GET", path).status == 404


def test_no_username_in_the_access_log(proxy: Proxy) -> None:
    """The access log has the path and never the query string."""
    with connect(f"ws://127.0.0.1:{proxy.port}/ws?username=secret-name", proxy=None):
        call(proxy.port, "GET", "/api/v1/runs?username=secret-name")
    eventually_sync(lambda: proxy.access_log.read_text().count("\n") >= 3)
    text = proxy.access_log.read_text()

    assert '"GET /ws" 101' in text
    assert "secret-name" not in text
