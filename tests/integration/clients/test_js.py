"""The JavaScript client against the real services: clients/js/test/real.test.ts says what must hold."""

import asyncio
import signal
from pathlib import Path

import pytest

from deploy.local.place import CHECKOUT
from tests.integration.clients.stage import stage
from tests.support import node
from tests.support.processes import clean_environ
from tests.support.servers import family, signal_all

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CLIENT = CHECKOUT / "clients" / "js"
TESTS_SECONDS = 180  # take 20


async def vitest(*arguments: str, **names: str) -> tuple[int, str]:
    """Run the JavaScript client's tests; exit code and output."""
    process = await asyncio.create_subprocess_exec(
        CLIENT / "node_modules" / ".bin" / "vitest",
        "run",
        *arguments,
        cwd=CLIENT,
        env=clean_environ(NO_COLOR="1", **names),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TESTS_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            signal_all(family(process.pid), signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


async def test_the_javascript_client_loses_nothing(migrated_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Cut, refused, restarted: it shows every event once and in order, by sockets, streams and polls."""
    node.need("the JavaScript client's tests", node.missing(CLIENT))
    async with stage(migrated_database_url, redis_url, tmp_path) as names:
        code, output = await vitest("--project", "all", "test/real.test.ts", **names)

    assert code == 0, output
    assert "skipped" not in output, output
