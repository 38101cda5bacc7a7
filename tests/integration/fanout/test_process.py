"""The hub as a process: its start, its admin port, its end."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from tests.integration.fanout.hubs import ROOT, Connect, HubProcess, Publish, StartAnyHub, StartHub, handshake
from tests.support import eventually, eventually_sync

pytestmark = pytest.mark.any_server  # about this service, whatever the stores' versions


def run(**settings: str) -> subprocess.CompletedProcess[str]:
    """A hub that is expected to end by itself."""
    env = {"PATH": os.environ["PATH"], "LOG_FORMAT": "json", **settings}
    return subprocess.run(
        [sys.executable, "-m", "fanout"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=20
    )


async def test_drain(redis_url: str, start_any_hub: StartAnyHub, name: str, peer: Connect) -> None:
    """TERM: readiness false, no new socket, the others closed 1012 spread over the drain, exit code 0."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="1")
    await eventually(hub.ready)
    sockets = [await websockets.connect(hub.url(f"{name}-{n}")) for n in range(20)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    hub.process.send_signal(signal.SIGTERM)

    async def closed(own: websockets.ClientConnection) -> tuple[float, int]:
        with pytest.raises(ConnectionClosed) as end:
            await own.recv()
        assert end.value.rcvd is not None
        return loop.time() - began, end.value.rcvd.code

    waiting = [asyncio.create_task(closed(own)) for own in sockets]
    await eventually(lambda: hub.admin("/readyz")[0] == 503)
    assert json.loads(hub.admin("/readyz")[1])["status"] == "draining"
    with pytest.raises(OSError, match="onnect"):
        await peer(hub)
    ends = await asyncio.gather(*waiting)
    await asyncio.gather(*(own.close() for own in sockets))

    assert {code for _, code in ends} == {1012}
    times = sorted(time for time, _ in ends)
    assert times[0] < 0.3
    assert 0.7 < times[-1] < 1.5
    assert all(later - earlier < 0.3 for earlier, later in itertools.pairwise(times))
    await eventually(lambda: hub.process.poll() == 0, within=3)


async def test_drain_is_short_when_empty(redis_url: str, start_any_hub: StartAnyHub) -> None:
    """Without sockets TERM ends the hub at once."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="600")
    await eventually(hub.ready)
    hub.process.send_signal(signal.SIGTERM)

    await eventually(lambda: hub.process.poll() == 0, within=2)
    assert [line["event"] for line in hub.lines()][-1] == "fanout.stopped"


async def test_drain_does_not_wait_for_the_deaf(
    redis_url: str, start_any_hub: StartAnyHub, name: str, peer: Connect
) -> None:
    """A peer that does not answer its close is cut after the close time-out."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="0", FANOUT_CLOSE_TIMEOUT="0.5")
    await eventually(hub.ready)
    raw = await peer(hub, name)
    hub.process.send_signal(signal.SIGINT)

    assert await raw.everything() == b"\x88\x0f\x03\xf4retry in 0 ms"
    await eventually(lambda: hub.process.poll() == 0, within=2)


async def test_drain_does_not_wait_for_a_request(redis_url: str, start_any_hub: StartAnyHub, peer: Connect) -> None:
    """Who has connected and asked nothing is told to come back at the end of the drain, not at the head's deadline."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="0", FANOUT_HEAD_TIMEOUT="60")
    await eventually(hub.ready)
    silent, slow = await peer(hub), await peer(hub)
    slow.send(b"GET /ws?username=alice HTTP/1.1\r\n")
    hub.process.send_signal(signal.SIGTERM)

    for raw in (silent, slow):
        assert (await raw.everything()).startswith(b"HTTP/1.1 503 ")
        raw.writer.close()
    await eventually(lambda: hub.process.poll() == 0, within=2)


async def test_second_signal_makes_haste(redis_url: str, start_any_hub: StartAnyHub, name: str, peer: Connect) -> None:
    """A second TERM cuts the drain short."""
    hub = start_any_hub(redis_url, FANOUT_DRAIN="600")
    await eventually(hub.ready)
    await peer(hub, name)
    hub.process.send_signal(signal.SIGTERM)
    await eventually(lambda: hub.events("fanout.draining"))
    hub.process.send_signal(signal.SIGTERM)

    await eventually(lambda: hub.process.poll() == 0, within=2)


@pytest.mark.parametrize("variable", ["FANOUT_PORT", "FANOUT_ADMIN_PORT"])
def test_port_in_use(variable: str, redis_url: str, free_port: Callable[[], int]) -> None:
    """A port in use is one line that names its variable, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"FANOUT_PORT": str(free_port()), "FANOUT_ADMIN_PORT": str(free_port())}
        port = str(taken.getsockname()[1])
        ended = run(REDIS_URL=redis_url, **ports | {variable: port})

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"fanout: {variable}: ")
    assert port in line


@pytest.mark.parametrize("share", ["0", "1"])
def test_shared_by_all_or_none(share: str, redis_url: str, free_port: Callable[[], int]) -> None:
    """One hub that does not share its port is enough: the second is refused, and told how they could share it."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=share == "0") as taken:
        port = str(taken.getsockname()[1])
        ports = {"FANOUT_PORT": port, "FANOUT_ADMIN_PORT": str(free_port())}
        ended = run(REDIS_URL=redis_url, FANOUT_REUSE_PORT=share, **ports)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("fanout: FANOUT_PORT: ")
    assert "hubs of one user share it if all have FANOUT_REUSE_PORT=1" in line
    assert port in line


def test_bad_setting() -> None:
    """A bad value is one line with variable, rule and value, and exit code 2."""
    ended = run(PING_INTERVAL="soon")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "fanout: PING_INTERVAL: must be a number of seconds, 0.1 to 3600, not 'soon'\n"


def test_bad_redis_url_hides_its_password() -> None:
    """A bad REDIS_URL is named without its password."""
    ended = run(REDIS_URL="http://:secret@h/0")

    assert ended.returncode == 2
    assert "REDIS_URL" in ended.stderr
    assert "secret" not in ended.stderr


def test_redis_url_with_unknown_options(free_port: Callable[[], int]) -> None:
    """Options of REDIS_URL that redis-py does not know are one line, and exit code 1."""
    ports = {"FANOUT_PORT": str(free_port()), "FANOUT_ADMIN_PORT": str(free_port())}
    ended = run(REDIS_URL="redis://:secret@h/0?colour=red", **ports)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("fanout: REDIS_URL: ")
    assert "colour" in line
    assert "secret" not in line


def test_unknown_variable(start_hub: StartHub) -> None:
    """A FANOUT_ variable that means nothing is warned of, by name."""
    hub = start_hub(FANOUT_PROT="1")

    assert [line["variable"] for line in hub.events("fanout.unknown_variable")] == ["FANOUT_PROT"]


def test_port_variable(redis_url: str, start_any_hub: StartAnyHub, free_port: Callable[[], int], peer: Connect) -> None:
    """PORT stands in for FANOUT_PORT when that is not set."""
    port = free_port()
    hub = start_any_hub(redis_url, FANOUT_PORT="", PORT=str(port), FANOUT_DRAIN="0")
    eventually_sync(hub.ready)

    assert hub.events("fanout.listening")[0]["port"] == port
    hub.stop()


async def test_admin_port(start_hub: StartHub, name: str, publish: Publish) -> None:
    """The admin port has health, readiness, stats and metrics; no metric or label names a user or a run."""
    hub = start_hub()
    async with (
        websockets.connect(hub.url(name)) as first,
        websockets.connect(hub.url(name)),
        websockets.connect(hub.url(name + "x")),
    ):
        (sent,) = await publish(name, {"run_id": "r-unheard-of", "recorded_at": 1.0})
        await first.recv()

        assert hub.admin("/healthz") == (200, '{"status": "ok", "auth": "insecure-username"}')
        assert hub.admin("/stats") == (200, '{"connections": 3, "users": 2}')
        assert json.loads(hub.admin("/readyz")[1]) == {
            "status": "ready",
            "degraded": [],
            "redis": "live",
            "history": "none",
            "beacon_age_s": None,
        }
        await eventually(lambda: hub.metric("fanout_frames_sent_total") == 2)
        assert hub.metric("fanout_sent_bytes_total") == 2 * (len(sent) + 4 - 2 * (len(sent) < 126))
        assert hub.metric("fanout_connections") == 3
        assert hub.metric("fanout_feeds") == 2
        assert hub.metric("fanout_redis_messages_total") >= 1
        assert hub.metric("fanout_delivery_lag_seconds_count") == 1
        assert hub.metric("fanout_delivery_lag_seconds_bucket", le="10.0") == 0
        await eventually(lambda: hub.metric("fanout_event_loop_lag_seconds_count") > 0)
        text = hub.admin("/metrics")[1]

    assert name not in text
    assert "r-unheard-of" not in text
    assert "process_resident_memory_bytes" in text
    assert "fanout_build_info{" in text


async def test_lag_is_never_negative(start_hub: StartHub, name: str, publish: Publish) -> None:
    """A frame from the future, of an API whose clock is ahead, counts as no lag."""
    hub = start_hub()
    async with websockets.connect(hub.url(name)) as own:
        await publish(name, {"recorded_at": 9e9})
        await own.recv()

    await eventually(lambda: hub.metric("fanout_delivery_lag_seconds_bucket", le="0.001") == 1)
    assert hub.metric("fanout_delivery_lag_seconds_sum") == 0


async def test_admin_port_has_no_sockets(start_hub: StartHub, peer: Connect) -> None:
    """The admin port knows no socket and no other path."""
    hub = start_hub()

    assert hub.admin("/ws?username=a")[0] == 404
    raw = await peer(hub.admin_port)
    raw.send(handshake("a"))
    assert (await raw.head()).startswith(b"HTTP/1.1 404 ")


async def test_console_log(start_hub: StartHub, name: str) -> None:
    """LOG_FORMAT=console writes lines for people."""
    hub = start_hub(LOG_FORMAT="console")

    assert "fanout.listening" in hub.log.read_text()
    assert not hub.lines()


async def test_many_at_once(hub: HubProcess, name: str) -> None:
    """Five hundred handshakes at once are all answered 101."""
    sockets = await asyncio.gather(*(websockets.connect(hub.url(f"{name}-{n}"), open_timeout=20) for n in range(500)))
    await asyncio.gather(*(own.close() for own in sockets))

    assert len(sockets) == 500
