"""Fixtures of the browser's tests: the built page on an origin of its own, Chromium, and the services.

They need Debian's chromium, node and tests/browser/node_modules. Where those are missing a developer's tests are
skipped and say how to get them; with CI=true they fail.
"""

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.driver import HERE, Browser
from tests.browser.stack import Stack
from tests.support import node
from tests.support.processes import clean_environ, services

CHROMIUM = os.environ.get("CHROMIUM_BIN", "/usr/bin/chromium")
BUILD_SECONDS = 60  # takes 0.1 s


def missing() -> list[str]:
    """The commands that get what is not here."""
    commands = []
    if not shutil.which(CHROMIUM):
        commands.append("apt-get install --no-install-recommends chromium   (or set CHROMIUM_BIN)")
    return commands + node.missing(HERE)


@pytest.fixture(scope="session")
def programs() -> None:
    """Everything that is not Python is here; else skip, or fail under CI=true."""
    node.need("the browser's tests", missing())


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:
        """No line a request among pytest's."""


def build(source: str, target: Path, *options: str) -> None:
    """One script out of a page's source."""
    esbuild = HERE / "node_modules" / ".bin" / "esbuild"
    command: list[str | Path] = [
        esbuild,
        source,
        "--bundle",
        "--jsx=automatic",
        "--log-level=warning",
        f"--outfile={target}",
        *options,
    ]
    subprocess.run(command, cwd=HERE, check=True, timeout=BUILD_SECONDS)


@pytest.fixture(scope="session")
def site(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of the built page: a port of its own, so that the API and the hub are another origin to it."""
    directory = tmp_path_factory.mktemp("page")
    for page in ("index.html", "client.html"):
        shutil.copy(HERE / page, directory)
    # StrictMode mounts twice in a development build alone; the client's own folder has another React.
    build("page.jsx", directory / "page.js", '--define:process.env.NODE_ENV="production"')
    build(
        "client.jsx",
        directory / "client.js",
        '--define:process.env.NODE_ENV="development"',
        "--alias:react=./node_modules/react",
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The module's Chromium, its profile empty at the start."""
    with Browser(CHROMIUM, "node", tmp_path_factory.mktemp("browser"), clean_environ()) as running:
        yield running


@pytest.fixture
def browser(chromium: Browser, tmp_path: Path) -> Iterator[Browser]:
    """Chromium without any tab; a picture of each that the test leaves goes to its directory."""
    yield chromium
    chromium.close_tabs(tmp_path)


@pytest.fixture
def stack(site: str, migrated_database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Both services on free ports, with a database of their own."""
    with services(migrated_database_url, redis_url, tmp_path) as environ:
        yield Stack(environ, site)
