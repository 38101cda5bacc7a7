"""The page that shows the API's OpenAPI document, in a real Chromium, against the real service."""

import pytest

from tests.browser.driver import Browser
from tests.browser.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

CREATE = "#operations-Runs-createRun"


def test_a_call_is_shown_and_tried(stack: Stack, browser: Browser) -> None:
    """Each call is there to read and to send, and nothing that the page does breaks its policy or asks others."""
    tab = browser.open(stack.docs())
    tab.find('main h1:has-text("Runfeed API")')
    tab.click(f"{CREATE} .opblock-summary-control")
    tab.find(f'{CREATE} .responses-table:has-text("run_exists")')
    tab.click(f"{CREATE} .try-out__btn")
    tab.click(f"{CREATE} .execute")
    after = tab.find(f'{CREATE} .live-responses-table .response-col_status:text-is("201")')

    assert after.errors == [], "what a policy forbids is an error, and so is what another origin was asked for"
    assert stack.seqs("hello") == []


def test_a_call_has_an_address(stack: Stack, browser: Browser) -> None:
    """An address that names a call opens it, also for whoever is let in with a key only."""
    after = browser.open(stack.docs("Who%20may/makeTicket")).find('.opblock.is-open:has-text("not_configured")')

    assert after.errors == []
