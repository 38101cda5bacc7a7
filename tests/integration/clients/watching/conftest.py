"""The real API and a real hub, shared by the tests of the watching client: use usernames of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web

from tests.integration.clients.watching.serving import Answering, Serve, Server
from tests.integration.clients.watching.worker import Opened, Places, Worker
from tests.support.ports import steady_port
from tests.support.processes import services
from tests.support.proxy import Proxy


@pytest.fixture(scope="module")  # no longer: other modules' hubs would hear its beacons on the shared Redis
def places(modules_database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """Where they are, and the environment that they have."""
    with services(modules_database_url, redis_url, tmp_path_factory.mktemp("watching"), FANOUT_DRAIN="0") as environ:
        yield Places(environ)


@pytest.fixture
async def worker(places: Places) -> AsyncIterator[Worker]:
    """Who reports, past every proxy."""
    async with Worker(places) as found:
        yield found


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Starts a proxy; it is closed with the test."""
    running: list[Proxy] = []

    async def start(proxy: Proxy) -> Proxy:
        await proxy.start()
        running.append(proxy)
        return proxy

    yield start
    for proxy in running:
        await proxy.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers every request so."""
    runners: list[web.AppRunner] = []

    async def start(answer: Answering) -> Server:
        server = Server(answer)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        port = steady_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        server.base = f"http://127.0.0.1:{port}"
        return server

    yield start
    for runner in runners:
        await runner.cleanup()
