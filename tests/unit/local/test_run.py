"""deploy/local/run.py: what ./dev run says when it is ready."""

import pytest

from deploy.local.environment import Environment
from deploy.local.run import Stores, banner

STORES = Stores(
    "postgresql://runfeed:secret@127.0.0.1:5432/runfeed", "redis://:secret@127.0.0.1:6379/0", "PostgreSQL", "Valkey"
)


@pytest.mark.parametrize(("page", "first"), [("", "page"), ("on", "page"), ("off", "watch")])
def test_the_page_comes_first(page: str, first: str) -> None:
    """The first thing to try is the page, at the API's address; with PAGE=off there is none to be named."""
    shown = banner(Environment.from_env({"API_PORT": "9081", "PAGE": page}), STORES)
    tried = shown.partition("Try it")[2].split("\n\n")[1].splitlines()

    assert tried[0].split()[0] == first
    assert ("  page       http://127.0.0.1:9081/" in tried) is (first == "page")
    assert not any(line.startswith("  page") for line in tried[1:])


def test_no_password() -> None:
    """No password of a store is shown."""
    assert "secret" not in banner(Environment.from_env({}), STORES)
