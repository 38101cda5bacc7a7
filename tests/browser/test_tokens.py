"""A real Chromium against services that ask who comes: `runfeed/react`, whose tokens run out, and an EventSource."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.browser.driver import HERE, Browser, State, Tab
from tests.browser.stack import Stack
from tests.browser.tokens import Tokens
from tests.support.ports import steady_port
from tests.support.proving import operate, proving, token

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SECONDS = 3.0  # for which a token lasts
WAYS = ["websocket", "sse"]


@pytest.fixture
def stack(site: str, migrated_database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Both services, which ask who comes. Pages may be of the site, and of the hub's own origin."""
    key, port = operate(migrated_database_url, redis_url, "keys", "create", "--may", "write", "--all"), steady_port()
    names = {"FANOUT_PORT": str(port), "ALLOWED_ORIGINS": f"{site},http://127.0.0.1:{port}"}
    with proving(migrated_database_url, redis_url, tmp_path, **names) as environ:
        yield Stack(environ, site, key)


class Watched:
    """A run, and a page that watches it with tokens of its own backend."""

    def __init__(self, stack: Stack, browser: Browser, way: str, seconds: float) -> None:
        token = secrets.token_hex(4)
        self.run_id, self.username = f"client:{token}", f"user-{token}"
        self._stack = stack
        self.tokens = Tokens(self.username, seconds)
        stack.new_run(self.run_id, self.username)
        self.tab: Tab = browser.open(f"{stack.site}/client.html?username=nobody")
        if way == "sse":
            self.tab.block(sockets=True)
        self._way = way

    def __enter__(self) -> "Watched":
        self.tokens.__enter__()
        page = self._stack.page(self.run_id, self.username, of="client.html", tokens=self.tokens.url)
        self.tab.goto(page)
        self.tab.by(self._way)
        return self

    def __exit__(self, *_: object) -> None:
        self.tokens.__exit__()

    def append(self, count: int, kind: str) -> State:
        """A worker reports the event of this number; what the page shows when it has it."""
        self._stack.append(self.run_id, kind)
        return self.tab.shown(count)


@pytest.mark.parametrize("way", WAYS)
def test_tokens_that_run_out(stack: Stack, browser: Browser, way: str) -> None:
    """While its token runs out twice a page shows every event once and in order, and never polls."""
    with Watched(stack, browser, way, SECONDS) as watched:
        first, count = len(watched.tokens.given), 0
        while len(watched.tokens.given) < first + 2:
            count += 1
            watched.append(count, "node_completed")
        watched.append(count + 1, "node_completed")
        watched.append(count + 2, "workflow_completed")
        after = watched.tab.ended()

    assert after.seqs == list(range(1, count + 3))
    assert (after.transport, after.errors, after.causes) == (way, [], [])
    if way == "websocket":
        assert len(after.sockets) == 1, "the new tokens went over the socket that was open"


@pytest.mark.parametrize("way", WAYS)
def test_a_user_whose_tokens_are_taken_back(stack: Stack, browser: Browser, way: str) -> None:
    """The page says that it was refused, and shows what it had."""
    with Watched(stack, browser, way, 600) as watched:
        watched.append(1, "node_completed")
        watched.tokens.kept = watched.tokens.given[-1]
        operate(stack.environ["DATABASE_URL"], stack.environ["REDIS_URL"], "revoke", "--user", watched.username)
        refused = watched.tab.find('#state[data-error="refused"]')

    assert (refused.seqs, refused.transport) == ([1], "none")
    assert not any(socket.open for socket in refused.sockets)


def test_a_stream_of_the_pages_own_origin(stack: Stack, browser: Browser) -> None:
    """A ticket opens an EventSource where the hub is the page's own origin, which the browser then does not send."""
    name = secrets.token_hex(4)
    run_id, username, hub = f"stream:{name}", f"user-{name}", f"http://127.0.0.1:{stack.environ['FANOUT_PORT']}"
    stack.new_run(run_id, username)
    said = urlencode({"api": f"http://127.0.0.1:{stack.environ['API_PORT']}", "token": token(username)})
    tab = browser.open(f"{hub}/healthz#{said}")
    tab.become(HERE / "stream.html")
    tab.find("#state[data-transport], #state[data-error]")
    stack.append(run_id, "node_completed")

    assert tab.shown(1).types == ["node_completed"]
