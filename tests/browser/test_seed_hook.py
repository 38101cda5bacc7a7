"""The React hook that users have, in a real React and a real Chromium, against the real services.

The hook (useWorkflowEvents.js) has flaws that its users cannot be asked to mend; what it shows must be true anyway.
"""

import asyncio
import secrets
import time
from pathlib import Path

import pytest
import redis

from orchestrator_api.migrate import migrate
from tests.browser.driver import Browser
from tests.browser.stack import Stack
from tests.support.processes import clean_environ, free_ports, procfile_command, ready_or_say_why, services
from tests.support.servers import OwnPostgres

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

POLL_SECONDS = 4.0  # the hook's silence before its poll
TEN = ["workflow_started", *["node_completed"] * 8, "workflow_completed"]


def names() -> tuple[str, str]:
    """A run and a user that nobody else has: the Redis is shared."""
    token = secrets.token_hex(4)
    return f"seed-hook:{token}", f"user-{token}"


def test_a_run_that_keeps_speaking_is_shown_without_a_poll(stack: Stack, browser: Browser) -> None:
    """Ten events a second apart make no poll, are shown once each and in order, and end the run for good."""
    run_id, username = names()
    stack.new_run(run_id, username)
    tab = browser.open(stack.page(run_id, username))
    stack.sockets(1)
    for number, kind in enumerate(TEN, start=1):
        tab.let_pass(1.0, why="the run's own pace")
        stack.append(run_id, kind)
        tab.shown(number)
    tab.ended()
    after = tab.let_pass(POLL_SECONDS + 2.0, why="a poll that the end did not call off would come in it")

    assert after.seqs == list(range(1, 11))
    assert after.types == TEN
    assert after.terminal
    assert after.polls == []
    assert stack.answered("GET") == {}
    assert stack.answered("POST") == {"201": 10}, "the metric that proves 'no GET' counts this route"
    assert after.errors == []
    # The hook closes its socket at the end and opens another, to which nothing may be told again.
    assert [(socket.open, len(socket.frames)) for socket in after.sockets] == [(False, 10), (True, 0)]
    assert ",".join(after.sockets[0].frames).encode() in stack.history(run_id), "socket and poll differ in their bytes"


def test_a_poll_that_fails_leaves_the_timeline(
    postgres_server: OwnPostgres, redis_url: str, site: str, browser: Browser, tmp_path: Path
) -> None:
    """A 503 is no JSON to the hook: its timeline stays as it was, and goes on by the socket."""
    asyncio.run(migrate(postgres_server.url()))
    run_id, username = names()
    with services(postgres_server.url(), redis_url, tmp_path) as environ:
        stack = Stack(environ, site)
        stack.new_run(run_id, username)
        tab = browser.open(stack.page(run_id, username))
        stack.sockets(1)
        stack.append(run_id, *["node_completed"] * 3)
        tab.shown(3)
        postgres_server.stop()

        assert tab.polled(1).polls == [503]
        # A SyntaxError of its JSON parser: the page could read the answer (CORS), and it was no JSON.
        met = tab.complained("poll: SyntaxError")
        assert met.seqs == [1, 2, 3]

        postgres_server.start()
        stack.ready()
        stack.append(run_id, "node_completed", "workflow_completed")
        after = tab.ended()
        assert after.seqs == [1, 2, 3, 4, 5]
        assert after.polls == [503]


def test_another_runs_end_does_not_end_this_one(stack: Stack, browser: Browser) -> None:
    """A socket with `&run_id=` shows nothing of the same user's other runs, their terminal events included."""
    run_id, username = names()
    other = f"{run_id}:other"
    stack.new_run(run_id, username)
    stack.new_run(other, username)
    tab = browser.open(stack.page(run_id, username))
    neighbour = browser.open(stack.page(other, username))
    stack.sockets(2)
    stack.append(run_id, "workflow_started")
    stack.append(other, "workflow_started", "workflow_failed")
    stack.append(run_id, "node_completed")

    # A feed is in order: what was appended last has come, so what was to come before it has come too.
    shown = tab.shown(2)
    assert shown.types == ["workflow_started", "node_completed"]
    assert not shown.terminal
    assert neighbour.ended().types == ["workflow_started", "workflow_failed"]

    stack.append(run_id, "workflow_completed")
    after = tab.ended()
    assert after.types == ["workflow_started", "node_completed", "workflow_completed"]
    assert after.seqs == [1, 2, 3]
    assert after.polls == []


def test_what_a_dead_socket_missed_comes_with_the_poll(
    site: str, migrated_database_url: str, redis_url: str, browser: Browser, tmp_path: Path
) -> None:
    """The hook's one poll after its hub was killed shows the whole history, each event once, the end included."""
    run_id, username = names()
    environ = clean_environ(**free_ports(), DATABASE_URL=migrated_database_url, REDIS_URL=redis_url)
    environ["FANOUT_HISTORY_URL"] = f"http://127.0.0.1:{environ['API_PORT']}"
    stack = Stack(environ, site)
    with procfile_command("api", environ, tmp_path / "api.log") as api:
        ready_or_say_why(api, environ["API_ADMIN_PORT"])
        stack.new_run(run_id, username)
        with procfile_command("fanout", environ, tmp_path / "fanout.log") as hub:
            ready_or_say_why(hub, environ["FANOUT_ADMIN_PORT"])
            tab = browser.open(stack.page(run_id, username))
            stack.sockets(1)
            stack.append(run_id, *["node_completed"] * 3)
            assert tab.shown(3).seqs == [1, 2, 3]
        # The end of this `with` is SIGKILL: a hub that is told to stop says goodbye first.
        stack.append(run_id, "node_completed", "workflow_completed")

        after = tab.ended()
        assert after.seqs == stack.seqs(run_id) == [1, 2, 3, 4, 5]
        assert after.polls == [200]
        assert len(after.sockets[0].frames) == 3, "the socket was to miss two events"


def test_a_frame_that_redis_swallowed_is_shown_once(stack: Stack, redis_url: str, browser: Browser) -> None:
    """The last frame before a silence, lost on Redis, is on the page within 4.5 s, once, and stays the only one."""
    run_id, username = names()
    stack.new_run(run_id, username)
    tab = browser.open(stack.page(run_id, username))
    stack.sockets(1)
    stack.append(run_id, "workflow_started", "node_completed")
    tab.shown(2)
    with redis.Redis.from_url(redis_url) as administrator:
        try:
            administrator.execute_command("ACL", "SETUSER", "default", "-publish")
            stack.append(run_id, "node_completed")
            lost = time.monotonic()
        finally:
            administrator.execute_command("ACL", "SETUSER", "default", "+publish")
    tab.shown(3)
    seconds = time.monotonic() - lost
    after = tab.let_pass(POLL_SECONDS + 1.0, why="whatever else might show it again would come in it")

    assert seconds < 4.5
    assert after.seqs == [1, 2, 3]
    assert len(after.sockets[0].frames) == 3, "the hub was to heal it, not the poll"


def test_a_page_that_comes_late_shows_what_was_before(stack: Stack, browser: Browser) -> None:
    """A page opened in the middle of a run, and again from the browser's cache (304), shows each event once."""
    run_id, username = names()
    stack.new_run(run_id, username)
    stack.append(run_id, *["node_completed"] * 3)
    tab = browser.open(stack.page(run_id, username))
    assert tab.shown(3).seqs == [1, 2, 3]

    assert tab.reload().seqs == []
    assert tab.shown(3).seqs == [1, 2, 3]
    assert stack.answered("GET") == {"200": 1, "304": 1}

    stack.append(run_id, "node_completed", "workflow_completed")
    after = tab.ended()
    assert after.seqs == [1, 2, 3, 4, 5]
    assert len(after.polls) == 2
    assert after.errors == []
