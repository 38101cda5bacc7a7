"""The page that the API serves, in a real Chromium, against the real services."""

import asyncio
import secrets

import aiohttp
import pytest

from tests.browser.driver import Browser, Cost, Tab
from tests.browser.stack import Stack, call
from tests.support.pacing import beats

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

CONNECTION = "button[aria-controls=connection]"  # on a small screen the switch is behind it
CUT = "[data-cut-switch]"
RATE = 50  # events a second
SECONDS = 5.0


def names() -> tuple[str, str]:
    """A run and a user that nobody else has."""
    token = secrets.token_hex(4)
    return f"page:{token}", f"user-{token}"


def step(number: int) -> dict[str, object]:
    """A long run's event: twenty steps, one after the other, again and again."""
    kind = ("step_started", "step_progress", "step_completed")[number % 3]
    name = f"step-{number // 3 % 20}"
    return {"type": kind, "step_name": name, "step_number": number // 3 % 20 + 1, "details": {"items": number}}


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
    tab.click(CONNECTION)
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


def test_ten_thousand_events(stack: Stack, browser: Browser, capsys: pytest.CaptureFixture[str]) -> None:
    """With 10,000 events loaded an event costs at most 1.5 times what it costs with 100; rows and tasks are bounded."""
    costs: dict[int, Cost] = {}
    for count in (100, 10_000):
        run_id, username = names()
        stack.new_run(run_id, username)
        for first in range(0, count, 1000):
            events = [step(number) for number in range(first, min(first + 1000, count))]
            call(stack.environ["API_PORT"], "POST", f"/api/v1/runs/{run_id}/events", {"events": events})
        tab = browser.open(stack.live_page(f"/users/{username}/runs/{run_id}"))
        tab.find(f"[data-seq='{count}']")
        costs[count] = flooded(stack, tab, run_id, count)
    few, many = costs[100], costs[10_000]
    with capsys.disabled():
        print(f"\n50 events a second: {few} with 100 events loaded, {many} with 10,000")  # noqa: T201

    assert many.seconds / few.seconds <= 1.5
    assert many.longest_ms <= 100
    assert many.rows <= 300


def flooded(stack: Stack, tab: Tab, run_id: str, count: int) -> Cost:
    """What the page costs while 50 events a second arrive."""

    async def flood() -> None:
        url = f"http://127.0.0.1:{stack.environ['API_PORT']}/api/v1/runs/{run_id}/events"
        number = count
        async with aiohttp.ClientSession() as session:
            async for due in beats(RATE):
                for _ in range(due):
                    async with session.post(url, json=step(number)) as response:
                        assert response.status == 201
                    number += 1
                if number >= count + RATE * SECONDS:
                    return

    tab.let_pass(1.0, why="the load of the page itself is not what is measured")
    tab.cost()
    asyncio.run(flood())
    tab.find(f"[data-seq='{count + int(RATE * SECONDS)}']")
    return tab.cost()
