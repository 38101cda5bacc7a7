"""The page that the API serves, in a real Chromium, against the real services."""

import secrets

import pytest

from tests.browser.driver import Browser
from tests.browser.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

CONNECTION = "button[aria-controls=connection]"  # on a small screen the switch is behind it
CUT = "[data-cut-switch]"


def names() -> tuple[str, str]:
    """A run and a user that nobody else has."""
    token = secrets.token_hex(4)
    return f"page:{token}", f"user-{token}"


def test_a_newcomer_plays_a_sample_run(stack: Stack, browser: Browser) -> None:
    """From the address to a run that happens: a name, one click, and the run is shown to its end."""
    tab = browser.open(stack.live_page())
    tab.find("[data-view=start]")
    tab.goto(stack.live_page(f"/users/{names()[1]}"))
    tab.find("[data-view=user]")
    tab.click("[data-sample]")
    tab.find("[data-view=run]")
    tab.find("[data-terminal=workflow_completed]")
    after = tab.find("[data-seqs=whole]")

    assert after.errors == []
    assert after.causes == []


def test_a_socket_that_is_cut(stack: Stack, browser: Browser) -> None:
    """The visitor cuts the socket: polls carry the run on; the socket comes back, and no number is missing."""
    run_id, username = names()
    stack.new_run(run_id, username)
    tab = browser.open(stack.live_page(f"/users/{username}/runs/{run_id}"))
    tab.find("[data-transport=websocket]")
    stack.append(run_id, "workflow_started", "step_started")
    tab.find("[data-seq='2']")
    tab.find(f"{CONNECTION}[aria-label^='Connection: websocket, open. Open the panel'][aria-expanded=false]")
    tab.click(CONNECTION)
    tab.find(f"{CONNECTION}[aria-label^='Connection: websocket, open. Close the panel'][aria-expanded=true]")
    tab.click(CUT)
    stack.append(run_id, "step_completed")
    tab.find("[data-seq='3']")
    cut = tab.find("[data-transport=poll]")
    tab.click(CUT)
    tab.find("[data-transport=websocket]")
    stack.append(run_id, "workflow_completed")
    tab.find("[data-seq='4']")
    after = tab.find("[data-seqs=whole]")

    assert set(cut.causes) == {"ws_down"}
    assert len(after.causes) == len(cut.causes), "no poll once the socket is back"
    assert len(after.sockets) == 2
    assert after.errors == []


def test_a_run_that_nobody_knows(stack: Stack, browser: Browser) -> None:
    """The page says so, and shows the run when it begins."""
    run_id, username = names()
    tab = browser.open(stack.live_page(f"/users/{username}/runs/{run_id}"))
    tab.find("[data-view=run] [data-unknown]")
    stack.new_run(run_id, username)
    stack.append(run_id, "workflow_started")

    assert tab.find("[data-seq='1']").sockets[0].open
