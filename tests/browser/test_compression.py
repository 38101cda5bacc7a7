"""Compressed frames in a real Chromium, which offers permessage-deflate with every socket."""

import json
import secrets
from pathlib import Path

import pytest

from tests.browser.driver import Browser
from tests.browser.stack import Stack, call
from tests.support.deflate import step
from tests.support.processes import services

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def test_a_page_is_shown_what_was_compressed(
    site: str, migrated_database_url: str, redis_url: str, browser: Browser, tmp_path: Path
) -> None:
    """Small and large frames reach the page in order, byte for byte as in the history, on less than half the wire."""
    token = secrets.token_hex(4)
    run_id, username = f"compressed:{token}", f"user-{token}"
    with services(migrated_database_url, redis_url, tmp_path, FANOUT_COMPRESSION="1") as environ:
        stack = Stack(environ, site)
        stack.new_run(run_id, username)
        tab = browser.open(stack.page(run_id, username))
        stack.sockets(1)
        events = [step(n, (0, 8, 200)[n % 3]) | {"text": "é \N{SNOWMAN}"} for n in range(30)]
        call(environ["API_PORT"], "POST", f"/api/v1/runs/{run_id}/events", {"events": events})
        shown = tab.shown(30)
        metrics = call(environ["FANOUT_ADMIN_PORT"], "GET", "/metrics").decode()
        history = stack.history(run_id)

    assert shown.seqs == list(range(1, 31))
    assert shown.polls == []
    assert shown.errors == []
    (socket,) = shown.sockets
    assert [json.loads(frame)["n"] for frame in socket.frames] == list(range(30))
    frames = ",".join(socket.frames).encode()
    assert frames in history
    (line,) = [line for line in metrics.splitlines() if line.startswith("fanout_sent_bytes_total ")]
    assert float(line.split()[1]) < len(frames) / 2
