"""What is measured, and how it is started: one process (or family) on its own core, its log kept for when it ends."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.binaries import find_redis
from deploy.local.place import CHECKOUT, DataDirectory
from deploy.local.postgres import free_port
from deploy.local.process import tail
from deploy.local.valkey import Valkey
from tests.bench import machine
from tests.bench.feed import Redis
from tests.support.processes import clean_environ, ready
from tests.support.servers import signal_all
from tests.support.waiting import eventually_sync

START_SECONDS = 20.0
STOP_SECONDS = 15.0
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NCHAN = f"""
load_module {NCHAN_MODULE};
worker_processes 1; daemon off; pid nginx.pid;
events {{ worker_connections 30000; }}
http {{ access_log off; keepalive_requests 100000000; client_body_buffer_size 1m;
  server {{ listen 127.0.0.1:PORT backlog=4096;
    location = /ws {{ nchan_subscriber websocket; nchan_channel_id $arg_username; nchan_websocket_ping_interval 25;
      nchan_subscriber_first_message newest; nchan_message_buffer_length 64; }}
    location = /pub {{ nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 64;
      nchan_message_timeout 60s; client_max_body_size 1m; }} }} }}
"""


@dataclass
class Server:
    """One that runs. port: of its sockets or calls; admin: of its metrics, 0 when it has none; see `Tool.publish`."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    admin: int = 0
    posts: bool = False

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self.process.pid

    def cpu(self) -> float:
        """Seconds."""
        return machine.cpu_seconds(self.pid)

    def memory(self) -> int:
        """Bytes."""
        return machine.resident(self.pid)

    def metric(self, name: str) -> float:
        """A metric without labels, from its admin port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        (found,) = (line for line in lines if line.startswith(f"{name} "))
        return float(found.rpartition(" ")[2])


@contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """Whatever is started meanwhile runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Bench:
    """What all cases share: a Redis on the load's core, a directory, and everything that must be ended."""

    def __init__(self, peers: Path | None) -> None:
        self.peers = peers
        self.redis = ""
        self._stack = ExitStack()

    def __enter__(self) -> Bench:
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="runfeed-bench-")))
        data = DataDirectory(CHECKOUT / ".data" / f"bench-{os.getpid()}")
        self._stack.callback(shutil.rmtree, data.path, ignore_errors=True)
        self.data = data
        with on_cores(machine.LOAD_CORE):
            valkey = self._stack.enter_context(Valkey(data, find_redis(os.environ)))
        # The peers of --peers give no password. It listens on loopback, and only as long as we run.
        Redis(valkey.url).ask(b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$11\r\nrequirepass\r\n$0\r\n\r\n", 1)
        self.redis = f"redis://127.0.0.1:{valkey.port}/0"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def server(
        self,
        name: str,
        command: Sequence[str | Path],
        port: int,
        environ: Mapping[str, str],
        *,
        admin: int = 0,
        ends: bool = False,
        core: int = machine.SERVER_CORE,
    ) -> Iterator[Server]:
        """Runs it on a core until the end of the `with`; ready when that is entered.

        ends: it is a command, and over by then.
        """
        log = self.directory / f"{name}-{port}-{core}.log"
        with log.open("wb") as output, on_cores(core):
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=CHECKOUT,
                env=clean_environ(**environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        found = Server(name, process, port, admin)
        try:
            eventually_sync(lambda: process.poll() is not None or (not ends and answers(found)), within=START_SECONDS)
            if process.poll() != (0 if ends else None):
                raise RuntimeError(f"{name} ended: {tail(log)}")
            yield found
        finally:
            end(process)

    @contextmanager
    def tool(self, module: str, plan: str) -> Iterator[Tool]:
        """A process of ours on the load's core: `python -m tests.bench.MODULE`."""
        with on_cores(machine.LOAD_CORE):
            process = subprocess.Popen(
                [sys.executable, "-m", f"tests.bench.{module}"],
                cwd=CHECKOUT,
                env=clean_environ(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        try:
            yield Tool(process, plan)
        finally:
            process.kill()
            process.communicate()


class Tool:
    """A process that is told one line and answers in lines of JSON."""

    def __init__(self, process: subprocess.Popen[str], plan: str) -> None:
        self.process = process
        self.tell(plan)

    def tell(self, line: str = "") -> None:
        """One line; an empty one says: go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def publish(self, server: Server) -> None:
        """Begin to publish: on Redis, or by POST to a hub that takes no Redis."""
        self.tell(str(server.port) if server.posts else "")

    def spoke(self) -> bool:
        """Whether there is a line to read."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def says(self) -> dict[str, float]:
        """Its next line. RuntimeError when it ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait(5)}")
        found: dict[str, float] = json.loads(line)
        return found


Start = Callable[[Bench, str], AbstractContextManager[Server]]


def answers(server: Server) -> bool:
    """Whether it is ready, or at least listens."""
    if server.admin:
        return ready(server.admin)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """TERM to the first, then KILL to whatever of its family is left."""
    members = machine.family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        signal_all(members, signal.SIGKILL)
        process.wait()


@contextmanager
def ours(
    bench: Bench, history: str, environ: Mapping[str, str] | None = None, core: int = machine.SERVER_CORE
) -> Iterator[Server]:
    """fanout with everything on: history, metrics, pings, bounds. `history`: the URL of what stands for the API."""
    admin = free_port()
    names = {
        "REDIS_URL": bench.redis, "FANOUT_HISTORY_URL": history, "FANOUT_PORT": str(free_port()),
        "FANOUT_ADMIN_PORT": str(admin), "FANOUT_DRAIN": "0", "LOG_LEVEL": "warning",
        **(environ or {}),
    }  # fmt: skip
    command = [sys.executable, "-m", "fanout"]
    with bench.server("runfeed", command, int(names["FANOUT_PORT"]), names, admin=admin, core=core) as server:
        yield server


def compressing(bench: Bench, history: str) -> AbstractContextManager[Server]:
    """The same, with shared compression."""
    return ours(bench, history, {"FANOUT_COMPRESSION": "1"})


@contextmanager
def naive(bench: Bench, _: str) -> Iterator[Server]:
    """tests/bench/naive.py."""
    port = free_port()
    names = {"REDIS_URL": bench.redis, "PORT": str(port)}
    with bench.server("naive", [sys.executable, "-m", "tests.bench.naive"], port, names) as server:
        yield server


def _peer(name: str, program: str) -> Start:
    @contextmanager
    def start(bench: Bench, _: str) -> Iterator[Server]:
        assert bench.peers is not None
        port, redis = free_port(), urlsplit(bench.redis).port
        with bench.server(name, [bench.peers / program, str(port), str(redis)], port, {}) as server:
            yield server

    return start


@contextmanager
def nchan(bench: Bench, _: str) -> Iterator[Server]:
    """nginx with its module, if Debian's nginx-light and libnginx-mod-nchan are there; events come by POST."""
    port = free_port()
    place = bench.directory / f"nchan-{port}"
    place.mkdir()
    (place / "nginx.conf").write_text(NCHAN.replace("PORT", str(port)))
    command: list[str | Path] = ["nginx", "-p", place, "-c", "nginx.conf", "-e", "error.log"]
    with bench.server("nchan", command, port, {}) as server:
        server.posts = True
        yield server


HUBS: Mapping[str, Start] = {"runfeed": ours, "naive": naive}
PEERS: Mapping[str, Start] = {"go": _peer("go", "gohub"), "floor": _peer("floor", "limithub"), "nchan": nchan}
