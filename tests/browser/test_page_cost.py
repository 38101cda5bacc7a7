"""What the page costs while a run is fast and long, in a real Chromium: alone on the machine, for it is measured."""

import asyncio
import secrets

import aiohttp
import pytest

from tests.browser.driver import Browser, Cost, Tab
from tests.browser.stack import Stack, call
from tests.support.pacing import beats

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

RATE = 50  # events a second
SECONDS = 5.0


def step(number: int) -> dict[str, object]:
    """A long run's event: twenty steps, one after the other, again and again."""
    kind = ("step_started", "step_progress", "step_completed")[number % 3]
    name = f"step-{number // 3 % 20}"
    return {"type": kind, "step_name": name, "step_number": number // 3 % 20 + 1, "details": {"items": number}}


def test_ten_thousand_events(stack: Stack, browser: Browser, capsys: pytest.CaptureFixture[str]) -> None:
    """With 10,000 events loaded an event costs at most 1.5 times what it costs with 100; rows and tasks are bounded."""
    costs: dict[int, Cost] = {}
    for count in (100, 10_000):
        token = secrets.token_hex(4)
        run_id, username = f"cost:{token}", f"user-{token}"
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
