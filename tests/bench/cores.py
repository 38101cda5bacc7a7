"""What a second process on a second core brings: deliveries of two hubs on one shared port, beside those of one.

    python -m tests.bench.cores [ROUNDS]

On a machine of two cores, two hubs that fill both leave none for Redis and for whoever counts: deliveries a second of
wall time would say how much the load took. What counts is deliveries a second of a hub's own CPU. Each hub reads all
frames from Redis, so that part of the work is done twice, and a delivery costs more when two share the sockets:

    scaling = capacity of two cores / capacity of one = 2 * (CPU of a delivery, one hub) / (the same, one of two hubs)

`paced`: the hub that is measured has the first core, and makes as many deliveries a second as the other time: with two
hubs twice as much is published. The second is on the last core, with Redis and the load.
`full`: frames are published as fast as they arrive. `half` is what one of two hubs does, without the other one taking
its time from it: half of the sockets, and all the frames. `two` are two hubs, which compete with Redis and the load for
the cores: deliveries a second of wall time, and where the cores went.

CPU is what the scheduler gave to the measured hub's threads while all frames came.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.local.binaries import find_redis
from deploy.local.place import CHECKOUT, DataDirectory
from deploy.local.valkey import Valkey
from tests.support.client import call
from tests.support.ports import steady_port
from tests.support.processes import clean_environ, ready
from tests.support.waiting import eventually_sync

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
FRAME = 250  # bytes: all frames have as many, so that bytes are deliveries
HEADER = 4  # of a WebSocket frame of that size
BASE = 1_000_000  # every feed's head before the first frame: ids never change their length
EPOCH = "00000000-0000-4000-8000-000000000000-00000000"
SETTLE_SECONDS = 0.5  # from the last handshake to the first frame
GIVE_UP_SECONDS = 10.0  # without a frame
IP_BIND_ADDRESS_NO_PORT = 24
UPGRADE = (
    "Host: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@dataclass(frozen=True)
class Load:
    """Who watches, and what is published.

    Fields:
        sockets, users: socket n is of user n % users, and so is frame n.
        count, burst: frames in all, and in one write.
        rate: frames a second; 0: `window` bursts are on their way at any time.
        strangers: 1: for each frame there is another one, of a user whom nobody watches.
    """

    sockets: int
    users: int
    count: int
    rate: float
    burst: int = 1
    window: int = 2
    strangers: int = 0

    @property
    def deliveries(self) -> int:
        """How many frames arrive on all sockets."""
        return self.count * self.sockets // self.users


LOADS = {
    "broadcast": Load(sockets=1000, users=1, count=80, rate=20),
    "unicast": Load(sockets=1000, users=1000, count=20_000, rate=5000, burst=20),
}
FULL = {
    "broadcast": Load(sockets=1000, users=1, count=600, rate=0),
    "unicast": Load(sockets=1000, users=1000, count=160_000, rate=0, burst=20, window=20),
}
HALF = {
    "broadcast": replace(FULL["broadcast"], sockets=500),
    "unicast": replace(FULL["unicast"], sockets=500, users=500, count=80_000, burst=10, strangers=1),
}


def measured(rounds: int) -> Iterator[dict[str, Any]]:
    """Every measurement as it was made, and at the end of each case what follows from their medians."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, on_cores(CORES[-1]):
        data = DataDirectory(Path(name) / "redis")
        with Valkey(data, find_redis(os.environ)) as redis:
            for case, load in LOADS.items():
                double = replace(load, rate=2 * load.rate, count=2 * load.count)
                yield from _in_turn(redis, f"{case}, paced", {"one": (1, load), "two": (2, double)}, rounds)
            for case, load in FULL.items():
                kinds = {"one": (1, load), "half": (1, HALF[case]), "two": (2, load)}
                yield from _in_turn(redis, f"{case}, full", kinds, rounds)
        data.remove()


def _in_turn(redis: Valkey, case: str, kinds: dict[str, tuple[int, Load]], rounds: int) -> Iterator[dict[str, Any]]:
    """Each kind once a round, so that what else the machine does meets all alike; then what their medians say."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for number in range(1, rounds + 1):
        for kind, (processes, load) in kinds.items():
            found[kind].append(measure(redis, processes, load))
            yield {"case": case, "kind": kind, "round": number, **found[kind][-1]}
    medians = {
        figure: {kind: statistics.median(each[figure] for each in results) for kind, results in found.items()}
        for figure in ("first_cpu_us", "deliveries_a_second")
    }
    cpu = medians["first_cpu_us"]
    yield {"case": case, **medians, "scaling": round(2 * cpu["one"] / cpu["half" if "half" in cpu else "two"], 2)}


def measure(redis: Valkey, processes: int, load: Load) -> dict[str, Any]:
    """Deliveries by so many hubs on one port, on the first cores; all else is on the last, or anywhere if that is full.

    Raises RuntimeError when not everything arrived.
    """
    assert redis.process is not None
    plan = {"load": asdict(load), "redis": redis.url, "port": steady_port(), "history": steady_port()}
    with ExitStack() as stack, on_cores(*(CORES[-1:] if load.rate or processes == 1 else CORES)):
        hubs = [stack.enter_context(_hub(redis, plan, CORES[n % len(CORES)], processes > 1)) for n in range(processes)]
        loader = stack.enter_context(_loader(plan))
        _say(loader, "open")
        _hear(loader, "opened")
        spread = [call(admin, "GET", "/stats").json()["connections"] for _, admin in hubs]
        pids = [*(process.pid for process, _ in hubs), loader.pid, redis.process.pid]
        before = [cpu_seconds(pid) for pid in pids]
        _say(loader, "publish")
        done = _hear(loader, "done")
        used = [cpu_seconds(pid) - early for pid, early in zip(pids, before, strict=True)]
    deliveries, seconds = done["deliveries"], done["seconds"]
    parts = [round(each / seconds, 2) for each in used]
    return {
        "sockets": spread,
        "deliveries": deliveries,
        "deliveries_a_second": round(deliveries / seconds),
        "first_cpu_us": round(used[0] / (deliveries * spread[0] / sum(spread)) * 1e6, 2),
        "cpu_us": round(sum(used[:processes]) / deliveries * 1e6, 2),
        "cores": {"hubs": parts[:processes], "load": parts[-2], "redis": parts[-1]},
    }


def cpu_seconds(pid: int) -> float:
    """What the scheduler gave to the threads of a process, in nanoseconds' fineness: /proc/PID/stat counts in 10 ms."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """What is started meanwhile runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _hub(redis: Valkey, plan: dict[str, Any], core: int, shared: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A hub on this core, ready, with its admin port. It sends no pings: they would be counted as frames."""
    admin = steady_port()
    environ = clean_environ(
        REDIS_URL=redis.url, FANOUT_HISTORY_URL=f"http://127.0.0.1:{plan['history']}", LOG_LEVEL="error",
        FANOUT_PORT=str(plan["port"]), FANOUT_ADMIN_PORT=str(admin), FANOUT_REUSE_PORT="1" if shared else "0",
        FANOUT_DRAIN="0", FANOUT_CLOSE_TIMEOUT="0.1", PING_INTERVAL="3600",
    )  # fmt: skip
    with on_cores(core):
        process = subprocess.Popen([sys.executable, "-m", "fanout"], cwd=CHECKOUT, env=environ, text=True)
    with _ended(process):
        eventually_sync(lambda: process.poll() is not None or ready(admin), within=20)
        yield process, admin


@contextmanager
def _loader(plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The process that publishes, watches and is the history, which answers when this is entered."""
    command, pipe = [sys.executable, "-m", "tests.bench.cores", "load"], subprocess.PIPE
    process = subprocess.Popen(command, cwd=CHECKOUT, env=clean_environ(), stdin=pipe, stdout=pipe, text=True)
    with _ended(process):
        _say(process, json.dumps(plan))
        _hear(process, "history")
        yield process


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str], what: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    told: dict[str, Any] = json.loads(line) if line else {}
    if told.get("told") != what:
        raise RuntimeError(f"the load did not come to {what!r}, but said {line.strip() or 'nothing'!r}")
    return told


class Frames:
    """What the load publishes (`python -m tests.bench.cores load`), and how far each feed has come."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.sent = 0

    def head(self, user: int) -> int:
        """Of a feed."""
        whole, more = divmod(self.sent, self.load.users)
        return BASE + whole + (user < more)

    def burst(self) -> bytes:
        """The next commands for Redis."""
        pieces = []
        for _ in range(min(self.load.burst, self.load.count - self.sent)):
            user = self.sent % self.load.users
            names = (b"u%04d" % user, b"s%04d" % user)[: 1 + self.load.strangers]
            pieces += [self._command(name, self.head(user) + 1) for name in names]
            self.sent += 1
        return b"".join(pieces)

    def _command(self, name: bytes, number: int) -> bytes:
        frame = (
            b'{"id":%d,"seq":%d,"run_id":"r%s","username":"%s","type":"node_completed","node_id":"fetch_flights",'
            b'"status":"completed","pad":"' % (number, number, name, name)
        ).ljust(FRAME - 2, b"x")
        return b'*3\r\n$7\r\nPUBLISH\r\n$10\r\nrun:r%s\r\n$%d\r\n%s"}\r\n' % (name, FRAME, frame)


def _history(frames: Frames, port: int) -> None:
    """Answer what a hub asks before it opens sockets. It asks for events when it missed some: that is an error here."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/api/v1/feeds/heads"
            heads = {name: frames.head(int(name[1:])) for name in asked["usernames"]} if known else {}
            body = json.dumps({"epoch": EPOCH, "heads": heads}).encode()
            self.send_response(200 if known else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _open(load: Load, port: int) -> list[socket.socket]:
    """All sockets; none waits for the answer to the one before."""
    found = []
    for number in range(load.sockets):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(("127.0.1.2", 0))
        sock.connect(("127.0.0.1", port))
        sock.sendall(f"GET /ws?username=u{number % load.users:04} HTTP/1.1\r\n{UPGRADE}\r\n".encode())
        found.append(sock)
    for sock in found:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(4096) or b"\r\n\r\n"
        if not head.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(f"no socket, but {head!r}")
        sock.setblocking(False)
    return found


class Counter:
    """Reads the sockets, and Redis' replies; counts bytes."""

    def __init__(self, sockets: list[socket.socket], redis: socket.socket) -> None:
        self.bytes = dict.fromkeys((sock.fileno() for sock in sockets), 0)
        self._total = self.deliveries = 0
        self.last = time.monotonic()
        self._sockets = {sock.fileno(): sock for sock in (*sockets, redis)}
        self._buffer = bytearray(1 << 20)
        self._poll = select.epoll()
        for number in self._sockets:
            self._poll.register(number, select.EPOLLIN)

    def turn(self, seconds: float) -> None:
        """Read what there is, or wait for it so long. RuntimeError when a socket is closed, or nothing comes."""
        for number, _ in self._poll.poll(max(0.0, seconds)):
            size = self._sockets[number].recv_into(self._buffer)
            if not size:
                raise RuntimeError("a socket was closed")
            if number in self.bytes:
                self.bytes[number] += size
                self._total += size
                self.deliveries = self._total // (FRAME + HEADER)
                self.last = time.monotonic()
        if time.monotonic() - self.last > GIVE_UP_SECONDS:
            raise RuntimeError(f"nothing comes after {self._total} bytes")


def _publish(frames: Frames, redis: socket.socket, counter: Counter) -> float:
    """All of it, and until it has arrived; the seconds from the first frame to the last."""
    load = frames.load
    each = load.sockets // load.users
    began = counter.last = time.monotonic()
    while counter.deliveries < load.deliveries:
        if frames.sent < load.count:
            late = time.monotonic() - began - frames.sent / load.rate if load.rate else 0.0
            under_way = frames.sent - counter.deliveries / each
            if late >= 0 if load.rate else under_way < load.burst * load.window:
                redis.sendall(frames.burst())
                continue
            counter.turn(min(-late, 0.1) if load.rate else 0.1)
        else:
            counter.turn(0.1)
    return counter.last - began


def _load() -> None:
    """One plan from stdin, a line of JSON for each thing that was done."""
    plan = json.loads(sys.stdin.readline())
    load = Load(**plan["load"])
    frames = Frames(load)
    _history(frames, plan["history"])
    _tell("history")
    sys.stdin.readline()
    sockets = _open(load, plan["port"])
    parts = urlsplit(plan["redis"])
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as redis:
        redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.password:
            redis.sendall(f"AUTH {parts.password}\r\n".encode())
        counter = Counter(sockets, redis)
        until = time.monotonic() + SETTLE_SECONDS
        while (left := until - time.monotonic()) > 0:
            counter.turn(left)
        _tell("opened")
        sys.stdin.readline()
        seconds = _publish(frames, redis, counter)
    if set(counter.bytes.values()) != {load.count // load.users * (FRAME + HEADER)}:
        raise RuntimeError("some sockets got more than others")
    _tell("done", seconds=seconds, deliveries=counter.deliveries)
    sys.stdin.readline()


def _tell(what: str, **more: float) -> None:
    sys.stdout.write(json.dumps({"told": what, **more}) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """All cases, a line of JSON each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments == ["load"]:
        _load()
        return
    for result in measured(int(arguments[0]) if arguments else 3):
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
