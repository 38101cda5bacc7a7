"""The processes of the suite: two APIs, two hubs, PostgreSQL, Valkey, and a proxy between each pair.

api[i] -> PostgreSQL      api_postgres[i]
api[i] -> Redis           api_redis[i]
hub[i] -> Redis           hub_redis[i]
hub[i] -> API             hub_history[i]: to api[i], and to the other when nobody listens there
client -> hub[i]          doors[i][0]; doors[i][1] for those whose line a row breaks
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from deploy.local.binaries import find_postgres, find_redis
from deploy.local.place import CHECKOUT, DataDirectory
from orchestrator_api.migrate import migrate
from tests.fault.times import Times
from tests.support.ports import steady_port
from tests.support.processes import PORT_NAMES, Program, clean_environ, ready, ready_or_say_why
from tests.support.proxy import Proxy
from tests.support.servers import OwnPostgres, OwnRedis, alive, family, signal_all
from tests.support.waiting import eventually

T = TypeVar("T")
Directories = Callable[[str], DataDirectory]
PAIR = (0, 1)
STOP_SECONDS = 15.0  # a hub drains for 5 s
RECOVERY_SECONDS = 10.0  # for a service to be ready when nothing is broken any more; then an operator is needed
POSTGRES = {
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
}
# A server's launcher must live as long as the server: one thread for all of them, and nothing waits in the loop.
_LAUNCHER = ThreadPoolExecutor(1, "launcher")


async def launching(call: Callable[[], T]) -> T:
    """Runs what starts or stops a server, beside the loop in which our proxies live."""
    return await asyncio.get_running_loop().run_in_executor(_LAUNCHER, call)


class Service:
    """An API or a hub: the same ports and log at every start."""

    def __init__(self, module: str, admin: str, environ: dict[str, str], log: Path) -> None:
        self.environ = environ
        self._module = module
        self._admin = environ[admin]
        self._log = log
        self._starts = 0
        self._special = False
        self.program: Program | None = None

    def __repr__(self) -> str:
        return f"<Service {self._module} {self._log.name}>"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.program is not None, f"{self!r} does not run"
        return self.program.process.pid

    @property
    def admin(self) -> int:
        """The admin port."""
        return int(self._admin)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.program is not None and self.program.process.poll() is None

    async def start(self, **names: str) -> None:
        """Starts it, with further variables; ready when this returns."""
        await self.launch(**names)
        program = self.program
        assert program is not None
        await asyncio.to_thread(ready_or_say_why, program, self._admin)

    async def repair(self) -> None:
        """Running, not frozen, and without what a row may have told it; not yet ready."""
        if self.running and self._special:
            await self.kill()
        if self.running:
            self.thaw()
        else:
            self._reap()
            await self.launch()

    async def launch(self, **names: str) -> None:
        """Starts it and does not wait."""
        self._starts += 1
        self._special = bool(names)
        log = self._log.with_suffix(f".{self._starts}.log")
        command = [sys.executable, "-m", self._module]
        self.program = await launching(lambda: Program(command, self.environ | names, log, CHECKOUT))

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        signal_all([self.pid], number)

    def freeze(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    async def gone(self) -> None:
        """Waits for its end."""
        pid = self.pid
        await eventually(lambda: not alive(pid), within=STOP_SECONDS)
        self._reap()

    async def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.running:
            self.signal(signal.SIGKILL)
        if self.program is not None:
            await self.gone()

    def close(self) -> None:
        """Ends whatever there is."""
        if self.program is not None:
            if self.running:
                signal_all(family(self.pid), signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        if self.program is not None:
            self.program.close()
            self.program = None


class Stack:
    """All of it; `running` makes one."""

    def __init__(self, new: Directories, times: Times) -> None:
        self.times = times
        self.directory = new("services")
        self.postgres = OwnPostgres(new("postgres"), find_postgres(os.environ), POSTGRES)
        self.redis = OwnRedis(new("redis"), find_redis(os.environ))
        self.replica = OwnRedis(new("replica"), find_redis(os.environ))
        for server in (self.postgres, self.redis, self.replica):
            server.port = steady_port()
        self.api_postgres: list[Proxy] = []
        self.api_redis: list[Proxy] = []
        self.hub_redis: list[Proxy] = []
        self.hub_history: list[Proxy] = []
        self.doors: list[list[Proxy]] = []
        self.apis: list[Service] = []
        self.hubs: list[Service] = []
        self.session: aiohttp.ClientSession

    def __repr__(self) -> str:
        return f"<Stack {self.postgres.version} {self.redis.name} {self.redis.version}>"

    @property
    def api_ports(self) -> list[int]:
        """Of both APIs."""
        return [int(api.environ["API_PORT"]) for api in self.apis]

    @property
    def hub_ports(self) -> list[int]:
        """Of both hubs, past the doors."""
        return [int(hub.environ["FANOUT_PORT"]) for hub in self.hubs]

    @property
    def proxies(self) -> list[Proxy]:
        """Every proxy."""
        doors = [door for pair in self.doors for door in pair]
        return [*self.api_postgres, *self.api_redis, *self.hub_redis, *self.hub_history, *doors]

    def door_ports(self, which: int, first: int) -> list[int]:
        """The doors of both hubs for one client: its first, then the other. which: 1 for a line that rows break."""
        return [self.doors[(first + n) % 2][which].port for n in PAIR]

    async def begin(self, stack: AsyncExitStack) -> None:
        """Starts everything; ready when this returns."""
        self.directory.create()
        for server in (self.postgres, self.redis):
            await launching(server.start)
            stack.push_async_callback(launching, server.stop)
        stack.push_async_callback(launching, self.replica.stop)
        await migrate(self.postgres.url())
        self.session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=False))
        )
        await self._begin_services(stack)

    async def _begin_services(self, stack: AsyncExitStack) -> None:
        plans = [clean_environ(**{name: str(steady_port()) for name in PORT_NAMES}) for _ in PAIR]
        for i in PAIR:
            apis = [("127.0.0.1", int(plans[(i + n) % 2]["API_PORT"])) for n in PAIR]
            self.api_postgres.append(await self._proxy(stack, ("127.0.0.1", self.postgres.port)))
            for proxies in (self.api_redis, self.hub_redis):
                proxies.append(await self._proxy(stack, ("127.0.0.1", self.redis.port), speaks_resp=True))
            self.hub_history.append(await self._proxy(stack, *apis))
            hub = "127.0.0.1", int(plans[i]["FANOUT_PORT"])
            self.doors.append([await self._proxy(stack, hub), await self._proxy(stack, hub)])
        for i, plan in enumerate(plans):
            self.apis.append(self._service("orchestrator_api", "API_ADMIN_PORT", self._for_api(i, plan), f"api{i}"))
            self.hubs.append(self._service("fanout", "FANOUT_ADMIN_PORT", self._for_hub(i, plan), f"hub{i}"))
        for service in (*self.apis, *self.hubs):
            stack.callback(service.close)
        await asyncio.gather(*(service.start() for service in (*self.apis, *self.hubs)))

    def _for_api(self, i: int, plan: Mapping[str, str]) -> dict[str, str]:
        url = self.postgres.url().replace(f":{self.postgres.port}/", f":{self.api_postgres[i].port}/")
        return {**plan, "DATABASE_URL": url, "REDIS_URL": self._redis_url(self.api_redis[i])}

    def _for_hub(self, i: int, plan: Mapping[str, str]) -> dict[str, str]:
        history = f"http://127.0.0.1:{self.hub_history[i].port}"
        redis = self._redis_url(self.hub_redis[i])
        return {**plan, "REDIS_URL": redis, "FANOUT_HISTORY_URL": history, **self.times.environ()}

    def _redis_url(self, proxy: Proxy) -> str:
        return self.redis.url.replace(f":{self.redis.port}/", f":{proxy.port}/")

    def _service(self, module: str, admin: str, environ: dict[str, str], name: str) -> Service:
        return Service(module, admin, environ, self.directory.path / f"{name}.log")

    async def _proxy(self, stack: AsyncExitStack, *targets: tuple[str, int], speaks_resp: bool = False) -> Proxy:
        proxy = Proxy(*targets, speaks_resp=speaks_resp)
        await proxy.start()
        stack.push_async_callback(proxy.close)
        return proxy

    async def repair(self) -> list[str]:
        """Whatever a row has left: everything runs, nothing is frozen, no proxy does harm. What needed an operator."""
        for proxy in self.proxies:
            proxy.heal()
            proxy.cut_reply_when(None)
        for server in (self.postgres, self.redis):
            if server.process is None or server.process.poll() is not None:
                server.process = None
                await launching(server.start)
            server.thaw()
        for service in (*self.apis, *self.hubs):
            await service.repair()
        return [told for service in (*self.apis, *self.hubs) if (told := await self._recovered(service))]

    async def _recovered(self, service: Service) -> str:
        """Waits until it is ready by itself; else says what it said, and starts it anew."""
        try:
            await eventually(lambda: asyncio.to_thread(ready, service.admin), within=RECOVERY_SECONDS)
        except AssertionError:
            told = await self.readiness(service)
            await service.kill()
            await service.start()
            return f"{service!r} was not ready {RECOVERY_SECONDS:.0f} s after the row: {told}"
        return ""

    async def metric(self, service: Service, name: str) -> float:
        """The sum of a metric's series."""
        async with self.session.get(f"http://127.0.0.1:{service.admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    async def readiness(self, service: Service) -> tuple[int, dict[str, Any]]:
        """/readyz of a service: status and body."""
        async with self.session.get(f"http://127.0.0.1:{service.admin}/readyz") as response:
            return response.status, await response.json(content_type=None)


@asynccontextmanager
async def running(new: Directories, times: Times) -> AsyncIterator[Stack]:
    """A stack from start to stop. new: makes data directories."""
    stack = Stack(new, times)
    async with AsyncExitStack() as exits:
        await stack.begin(exits)
        yield stack
