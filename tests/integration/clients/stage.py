"""Both services, a proxy between a client and the hub, and an HTTP port where the client's test directs them."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.support.ports import steady_port
from tests.support.processes import Program, clean_environ, free_ports, procfile_command, ready_or_say_why
from tests.support.proxy import Proxy, proxy


class Stage:
    """What a client's test may do: cut every connection to the hub, stop the hub, start it, count its sockets."""

    def __init__(self, environ: dict[str, str], between: Proxy, directory: Path) -> None:
        self.environ = environ
        self.between = between
        self._directory = directory
        self._programs = ExitStack()
        self._hub: Program | None = None
        self._hubs = 0

    def start_api(self) -> None:
        """The API, ready."""
        api = self._programs.enter_context(procfile_command("api", self.environ, self._directory / "api.log"))
        ready_or_say_why(api, self.environ["API_ADMIN_PORT"])

    def start_hub(self) -> None:
        """A hub, ready, on the port of those before it."""
        self._hubs += 1
        log = self._directory / f"fanout-{self._hubs}.log"
        self._hub = self._programs.enter_context(procfile_command("fanout", self.environ, log))
        ready_or_say_why(self._hub, self.environ["FANOUT_ADMIN_PORT"])

    def stop_hub(self) -> None:
        """Ends the hub as a deployment does."""
        assert self._hub is not None, "no hub runs"
        assert self._hub.end(signal.SIGTERM) == 0, self._hub.output()

    def close(self) -> None:
        """Kills both."""
        self._programs.close()

    async def cut(self, _: web.Request) -> web.Response:
        """Resets every connection to the hub; how many there were."""
        count = self.between.open_connections
        self.between.cut()
        return web.json_response({"cut": count})

    async def stop(self, _: web.Request) -> web.Response:
        """The hub ends, while the proxy goes on."""
        await asyncio.to_thread(self.stop_hub)
        return web.json_response({})

    async def start(self, _: web.Request) -> web.Response:
        """A hub again."""
        await asyncio.to_thread(self.start_hub)
        return web.json_response({})

    async def stats(self, _: web.Request) -> web.Response:
        """What the hub says of itself."""
        url = f"http://127.0.0.1:{self.environ['FANOUT_ADMIN_PORT']}/stats"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return web.json_response(json.loads(await answer.read()))


@asynccontextmanager
async def stage(database_url: str, redis_url: str, directory: Path) -> AsyncIterator[dict[str, str]]:
    """Both services and their director; what a client's test reads from its environment."""
    environ = clean_environ(**free_ports(), DATABASE_URL=database_url, REDIS_URL=redis_url)
    environ["FANOUT_PORT"] = str(steady_port())  # a hub that restarts needs its port again
    environ["FANOUT_HISTORY_URL"] = api = f"http://127.0.0.1:{environ['API_PORT']}"
    async with proxy("127.0.0.1", int(environ["FANOUT_PORT"])) as between:
        running = Stage(environ, between, directory)
        try:
            await asyncio.to_thread(running.start_api)
            await asyncio.to_thread(running.start_hub)
            async with directed(running) as control:
                yield {
                    "RUNFEED_TEST_API": api,
                    "RUNFEED_TEST_HUB": f"ws://127.0.0.1:{between.port}",
                    "RUNFEED_TEST_CONTROL": control,
                }
        finally:
            await asyncio.to_thread(running.close)


@asynccontextmanager
async def directed(running: Stage) -> AsyncIterator[str]:
    """The address at which a client's test says what is to happen."""
    app = web.Application()
    for name in ("cut", "stop", "start"):
        app.router.add_post(f"/{name}", getattr(running, name))
    app.router.add_get("/stats", running.stats)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
