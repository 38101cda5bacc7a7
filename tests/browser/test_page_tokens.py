"""The page that the API serves, in a real Chromium, where the services ask who comes; and what is there without it."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.driver import Browser, Tab
from tests.browser.stack import Stack
from tests.support.processes import services
from tests.support.proving import operate, proving, token

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

FORM = "[data-token-form]"
FIELD = "#token"
QUIET_SECONDS = 3.0  # the page asks who does not answer again after 0.3 to 3 s


@pytest.fixture
def stack(
    site: str, migrated_database_url: str, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    """Both services, which ask who comes, and the page: on, or as the test has it."""
    page = getattr(request, "param", "on")
    key = operate(migrated_database_url, redis_url, "keys", "create", "--may", "write", "--all")
    with proving(migrated_database_url, redis_url, tmp_path, PAGE=page) as environ:
        yield Stack(environ, site, key)


def names(stack: Stack, *types: str) -> tuple[str, str]:
    """A run with these events, and its user, that nobody else has."""
    name = secrets.token_hex(4)
    run_id, username = f"page:{name}", f"user-{name}"
    stack.new_run(run_id, username)
    stack.append(run_id, *types)
    return run_id, username


def said(text: str) -> str:
    """Finds the form's message with this in it."""
    return f'[data-token-said]:has-text("{text}")'


def offer(tab: Tab, given: str) -> None:
    """The visitor, whose focus is on the field, gives the form this."""
    tab.find(f"{FIELD}:focus")
    tab.fill(FIELD, given)
    tab.press("Enter")


def test_from_the_address_to_a_run(stack: Stack, browser: Browser) -> None:
    """The start asks for a token; with it the name is known, the runs are listed, and a reload keeps it in the tab."""
    run_id, username = names(stack, "workflow_started")
    tab = browser.open(stack.live_page())
    quiet = tab.find(f"{FORM} {FIELD}:focus")
    offer(tab, "rubbish")
    tab.find(said("no token"))
    before = token(username, seconds=-60)
    offer(tab, before)
    tab.find(said("That token has ended."))
    good = token(username)
    offer(tab, good)
    tab.find("#username:focus")
    tab.press("Enter")
    tab.find("[data-view=user]")
    tab.click(f"[data-row='{run_id}'] a")
    tab.find("[data-seq='1']")
    tab.find("[data-transport=websocket]")
    stack.append(run_id, "workflow_completed")
    tab.find("[data-terminal=workflow_completed]")
    tab.find("[data-held]")
    tab.find("body:not(:has([data-sample]))")
    tab.hides(good)
    shown = tab.hides(before)
    tab.reload()
    tab.find("[data-seq='2']")

    assert quiet.errors == [], "nothing was refused to know that a token is wanted"
    assert 401 not in shown.polls
    assert shown.sockets[-1].open


def test_a_link_to_a_run(stack: Stack, browser: Browser) -> None:
    """Who opens a run without a token is asked for one, nothing is asked meanwhile, and it is forgotten on demand."""
    run_id, username = names(stack, "workflow_started")
    tab = browser.open(stack.live_page(f"/users/{username}/runs/{run_id}"))
    before = tab.find(f"{FORM} {FIELD}:focus")
    after = tab.let_pass(QUIET_SECONDS, "that nothing is asked again while a token is waited for")
    tab.find("body:not(:has([data-notice]))")
    offer(tab, token(username))
    tab.find("[data-seq='1']")
    tab.click("button[aria-controls=connection]")
    tab.click("[data-forget]")
    tab.find(said("forgotten"))
    tab.reload()
    tab.find(FORM)

    assert after.requests == before.requests
    assert not any(socket.open for socket in after.sockets)


def test_a_token_that_is_taken_back(stack: Stack, browser: Browser) -> None:
    """The page says so over what it shows, asks for nothing, and with another token goes on where it was."""
    run_id, username = names(stack, "workflow_started")
    tab = browser.open(stack.live_page(f"/users/{username}/runs/{run_id}"))
    offer(tab, token(username))
    tab.find("[data-transport=websocket][data-state=open]")
    operate(stack.environ["DATABASE_URL"], stack.environ["REDIS_URL"], "revoke", "--user", username)
    tab.find(said("The token was revoked."))
    before = tab.find("[data-seq='1']")
    after = tab.let_pass(QUIET_SECONDS, "that nothing is asked again while a token is waited for")
    tab.find("body:not(:has([data-notice]))")
    stack.append(run_id, "workflow_completed")
    offer(tab, token(username))
    tab.find("[data-terminal=workflow_completed]")
    tab.find("[data-seqs=whole]")
    tab.find("[data-transport=websocket][data-state=open]")
    tab.find(f"body:not(:has({FORM}))")

    assert after.requests == before.requests


def test_a_token_that_runs_out(stack: Stack, browser: Browser) -> None:
    """Another is asked for while the socket is still open, which goes on with it."""
    run_id, username = names(stack, "workflow_started")
    tab = browser.open(stack.live_page(f"/users/{username}/runs/{run_id}"))
    offer(tab, token(username, seconds=3))
    tab.find("[data-seq='1']")
    tab.find(said("The token has ended."))
    offer(tab, token(username))
    tab.find(f"body:not(:has({FORM}))")
    stack.append(run_id, "workflow_completed")
    after = tab.find("[data-terminal=workflow_completed]")

    assert [socket.open for socket in after.sockets] == [True]


def test_a_token_for_some_runs(stack: Stack, browser: Browser) -> None:
    """There is no list of the user's runs, so the page names those of the token; and not another user's."""
    run_id, username = names(stack, "workflow_started", "workflow_completed")
    tab = browser.open(stack.live_page(f"/users/{username}"))
    offer(tab, token(username, run_ids=[run_id]))
    tab.find("[data-some='1']")
    tab.click(f"[data-some-run='{run_id}']")
    shown = tab.find("[data-terminal=workflow_completed]")
    tab.goto(stack.live_page("/users/somebody-else"))
    tab.find("[data-other]")

    assert 403 not in shown.polls


def test_a_token_that_nobody_wants_any_more(
    site: str, migrated_database_url: str, redis_url: str, tmp_path: Path, browser: Browser
) -> None:
    """Where the services come back without a key, the tab's token is forgotten: it would hide the sample run."""
    username = f"user-{secrets.token_hex(4)}"
    with proving(migrated_database_url, redis_url, tmp_path, PAGE="on") as environ:
        tab = browser.open(Stack(environ, site).live_page(f"/users/{username}"))
        offer(tab, token(username))
        tab.find("[data-held]")
        tab.find("body:not(:has([data-sample]))")
    same = {name: value for name, value in environ.items() if name.endswith("_PORT") or name == "FANOUT_HISTORY_URL"}
    with services(migrated_database_url, redis_url, tmp_path, **same):
        tab.reload()
        tab.find("[data-sample]")
        tab.find("body:not(:has([data-held]))")
        tab.find("[data-transport=websocket][data-state=open]")


@pytest.mark.parametrize("stack", ["off"], indirect=True)
def test_no_page(stack: Stack, browser: Browser) -> None:
    """With PAGE=off a browser is shown that, and a way to what the API is; its policy lets the style through."""
    tab = browser.open(stack.live_page())
    shown = tab.find('h1:has-text("Runfeed\'s API")')
    tab.find("main:has-text('PAGE')")
    tab.click("a[href='api/v1/docs']")
    tab.find('main h1:has-text("Runfeed API")')

    assert shown.errors == []
